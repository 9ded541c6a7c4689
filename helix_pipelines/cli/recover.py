"""`helix recover`: what a crash left behind, found and put right by hand, as Dagster's daemon does by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helix_pipelines.cli.connection import database_url
from helix_pipelines.cli.output import ExitCode, JsonOption, say, table, write_json
from helix_pipelines.settings import load_settings

if TYPE_CHECKING:
    from helix_pipelines.instance.recovery import Deed
    from helix_pipelines.storage.recovery_plan import Finding


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("recover")(recover)


def recover(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Put right what a crash left behind: batches without a run, runs without a process, partitions that do not fit.

    The daemon of `helix up` does the same every few seconds, unless HELIX_AUTO_RECOVERY is false. Runs that are alive are left
    alone. Exit 1 if something could not be done.

    Try:

    - `helix recover --dry-run`
    - `helix recover --json`
    """
    from helix_pipelines.instance.recovery import opened_recovery

    settings = load_settings()
    with database_url(settings) as url, opened_recovery(settings, url) as recovery:
        found = recovery.look()
        done = [] if dry_run else recovery.act(found)
    if as_json:
        write_json({"found": [_line(finding) for finding in found], "done": [_deed_line(deed) for deed in done]})
    else:
        say(_text(found, done))
    return ExitCode.FAILED if any(deed.failed for deed in done) else ExitCode.DONE


def _line(finding: Finding) -> dict[str, Any]:
    return {
        "remedy": finding.remedy,
        "batch": finding.batch,
        "run_id": finding.run_id,
        "detail": finding.detail,
    }


def _deed_line(deed: Deed) -> dict[str, Any]:
    return {**_line(deed.finding), "result": deed.result, "failed": deed.failed}


def _text(found: Sequence[Finding], done: Sequence[Deed]) -> str:
    results = [deed.result for deed in done] or ["only told"] * len(found)
    rows = [
        [finding.remedy, finding.batch, finding.run_id, result, finding.detail]
        for finding, result in zip(found, results, strict=True)
    ]
    return table(["remedy", "batch", "run", "result", "because"], rows) or "Nothing is stranded."
