"""`helix quarantine`: which rows could not be used, and why."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from helix_pipelines.cli.connection import connected
from helix_pipelines.cli.output import ExitCode, JsonOption, table, write_json
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.quarantine import STAGES, list_quarantine

SHOWN = 200
"""Lines on a terminal; --json has all of them."""
MESSAGE_CHARS = 100


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(help="Rows that could not be used, with the reason.", no_args_is_help=False)
    group.callback()(_group)
    group.command("list")(list_rows)
    app.add_typer(group, name="quarantine")


def _group() -> None:
    """A group keeps its name on the command line though it has one command."""


def list_rows(
    import_id: Annotated[int | None, typer.Option("--import", metavar="ID", help="Only rows of this import.")] = None,
    stage: Annotated[
        str | None, typer.Option(metavar="parsing|embedding", help="Only rows that this stage refused.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only rows refused with this code.")] = None,
    as_json: JsonOption = False,
) -> int:
    """List refused rows by file and row number: records that could not be read, and texts that could not be embedded.

    Try:

    - `helix quarantine list --import 42`
    - `helix quarantine list --stage embedding --json`
    """
    if stage is not None and stage not in STAGES:
        raise UsageError("STAGE_UNKNOWN", f"--stage is {' or '.join(STAGES)}, not {stage!r}.")
    with connected(load_settings()) as connection:
        rows = list_quarantine(
            connection, stage=stage, import_id=import_id, code=code, limit=None if as_json else SHOWN + 1
        )
    if as_json:
        write_json({"rows": rows})
    else:
        typer.echo(_rows_text(rows))
    return ExitCode.DONE


def _rows_text(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No row is in quarantine."
    lines = [
        [
            row["import"],
            row["path"] + (f" [{row['sheet']}]" if row["sheet"] else ""),
            str(row["row"]),
            row["stage"],
            row["code"],
            textwrap.shorten(row["message"] or "", MESSAGE_CHARS, placeholder=" ..."),
        ]
        for row in rows[:SHOWN]
    ]
    more = "\n... and more: --json has all of them." if len(rows) > SHOWN else ""
    return table(["import", "file", "row", "stage", "code", "reason"], lines) + more
