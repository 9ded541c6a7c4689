"""`helix quarantine`: which rows could not be used and why, as a list, as a table to correct, and back in."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from helix_pipelines.cli import quarantine_replay
from helix_pipelines.cli.connection import connected
from helix_pipelines.cli.output import LARGEST_ID, ExitCode, JsonOption, note, say, table, write_json
from helix_pipelines.quarantine.hints import hint
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.quarantine import STAGES, Filters, list_quarantine

SHOWN = 200
"""Lines on a terminal; --json has all of them."""
MESSAGE_CHARS = 100
LISTED = (
    *("stage", "import", "path", "source", "collection", "sheet", "row", "code", "message"),
    *("question", "raw"),
)
DEFAULT_EXPORT = Path("quarantine.xlsx")

ImportOption = Annotated[
    int | None, typer.Option("--import", metavar="ID", min=1, max=LARGEST_ID, help="Only rows of this import.")
]
StageOption = Annotated[
    str | None, typer.Option(metavar="parsing|embedding", help="Only rows that this stage refused.")
]
CodeOption = Annotated[str | None, typer.Option(help="Only rows refused with this code.")]
ColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only rows whose reason is about this column, or question or answer.")
]
CollectionOption = Annotated[str | None, typer.Option("--collection", "-c", help="Only rows of this knowledge base.")]
SourceOption = Annotated[str | None, typer.Option(help="Only rows of this source.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also rows that a replay has brought in since.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(
        help="Rows that could not be used: list, export to correct, replay.\n\nTry: `helix quarantine list`",
        no_args_is_help=False,
    )
    group.command("list")(list_rows)
    group.command("export")(export)
    group.command("replay")(quarantine_replay.replay)
    app.add_typer(group, name="quarantine")


def list_rows(
    import_id: ImportOption = None,
    stage: StageOption = None,
    code: CodeOption = None,
    column: ColumnOption = None,
    collection: CollectionOption = None,
    source: SourceOption = None,
    with_replayed: AllOption = False,
    as_json: JsonOption = False,
) -> int:
    """List refused rows by file and row number: records that could not be read, and texts that could not be embedded.

    Try:

    - `helix quarantine list --import 42`
    - `helix quarantine list --column answer --source faq.xlsx`
    - `helix quarantine list --stage embedding --json`
    """
    filters = _filters(import_id, stage, code, column, collection, source, with_replayed=with_replayed)
    with connected(load_settings()) as connection:
        rows = list_quarantine(connection, limit=None if as_json else SHOWN + 1, **filters)
    if as_json:
        write_json({"rows": [_row_document(row, with_replayed=with_replayed) for row in rows]})
    else:
        say(_rows_text(rows))
    return ExitCode.DONE


def export(
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write; the suffix says .csv or .xlsx.")
    ] = DEFAULT_EXPORT,
    import_id: ImportOption = None,
    stage: StageOption = None,
    code: CodeOption = None,
    column: ColumnOption = None,
    collection: CollectionOption = None,
    source: SourceOption = None,
    with_replayed: AllOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Write refused rows to a table that people can correct; `helix quarantine replay` brings the corrected rows in.

    Texts that a spreadsheet would run as formulas get an apostrophe in front, which the replay takes off again.

    Try:

    - `helix quarantine export`
    - `helix quarantine export -o faq.csv --import 42`
    """
    from helix_pipelines.quarantine.export import export_quarantine

    filters = _filters(import_id, stage, code, column, collection, source, with_replayed=with_replayed)
    with connected(load_settings()) as connection:
        done = export_quarantine(connection, file.absolute(), filters, force=force)
    if done.fields_without_column:
        note(f"{done.fields_without_column:,} fields have no column in the table; a replay leaves them as they are.")
    if as_json:
        write_json({"file": str(file.absolute()) if done.rows else None, "rows": done.rows})
    elif done.rows:
        say(
            f"{done.rows:,} rows are in {file}. Correct question and answer there, then run:"
            f" helix quarantine replay {file}"
        )
    else:
        say("No row is in quarantine; no file was written.")
    return ExitCode.DONE


def _filters(
    import_id: int | None,
    stage: str | None,
    code: str | None,
    column: str | None,
    collection: str | None,
    source: str | None,
    *,
    with_replayed: bool,
) -> Filters:
    if stage is not None and stage not in STAGES:
        raise UsageError("STAGE_UNKNOWN", f"--stage is {' or '.join(STAGES)}, not {stage!r}.")
    return {
        "import_id": import_id,
        "stage": stage,
        "code": code,
        "column": column,
        "collection": collection,
        "source": source,
        "replayed": with_replayed,
    }


def _row_document(row: dict[str, Any], *, with_replayed: bool) -> dict[str, Any]:
    document = {**{key: row[key] for key in LISTED}, "hint": hint(row["code"] or "")}
    return {**document, "replayed_by": row["replayed_by"]} if with_replayed else document


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
            textwrap.shorten(row["message"] or "", MESSAGE_CHARS, placeholder=" ...")
            + (f" (replayed by import {row['replayed_by']})" if row["replayed_by"] else ""),
        ]
        for row in rows[:SHOWN]
    ]
    more = "\n... and more: --json has all of them." if len(rows) > SHOWN else ""
    return table(["import", "file", "row", "stage", "code", "reason"], lines) + more
