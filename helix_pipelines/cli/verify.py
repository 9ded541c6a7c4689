"""`helix verify`: does the ledger add up, do references hold, are vectors whole?"""

from __future__ import annotations

import typer

from helix_pipelines.cli.connection import connected
from helix_pipelines.cli.findings import print_findings
from helix_pipelines.cli.output import JsonOption
from helix_pipelines.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("verify")(verify_database)


def verify_database(as_json: JsonOption = False) -> int:
    """Check that every row is accounted for and that what is searched is whole. Exit 1 if a check fails.

    Try:

    - `helix verify`
    - `helix verify --json`
    """
    from helix_pipelines.serving.verify import verify

    with connected(load_settings()) as connection:
        findings = verify(connection)
    return print_findings(findings, as_json=as_json)
