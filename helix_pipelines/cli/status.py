"""`helix status`: how batches, files and collections stand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from helix_pipelines.cli.connection import connected
from helix_pipelines.cli.output import ExitCode, JsonOption, say, table, write_json
from helix_pipelines.cli.summary import batch_text, import_text
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import load_settings
from helix_pipelines.storage import reports

IMPORT_DIGITS = 19
"""Digits of a number that no import reaches: what is that long is not asked for as one."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(status)


def status(
    which: Annotated[
        str | None, typer.Argument(metavar="[BATCH|IMPORT]", help="A batch's key or an import's number.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Show how things stand: states, counters per outcome, progress and the time left.

    Without an argument: the last 20 batches, the totals of each collection, and the texts that wait for a vector.

    Try:

    - `helix status`
    - `helix status 20260131-101500-faq-1a2b3c4d`
    - `helix status 42 --json`
    """
    with connected(load_settings()) as connection:
        if which is None:
            document: Any = reports.overview(connection)
            text = overview_text
        elif which.isascii() and which.isdigit() and len(which) < IMPORT_DIGITS:
            document = reports.import_status(connection, int(which))
            text = import_text
        else:
            document = reports.batch_status(connection, which)
            text = batch_text
    if document is None:
        raise UsageError("UNKNOWN", f"There is no batch or import {which!r}. `helix status` lists the latest.")
    if as_json:
        write_json(document)
    else:
        say(text(document))
    return ExitCode.DONE


def overview_text(report: dict[str, Any]) -> str:
    """The overview for a person."""
    counters = ("files", "rows_read", "inserted", "updated", "unchanged", "duplicate", "quarantined", "pending")
    if not report["batches"]:
        return "Nothing has been imported yet. Try: helix import FILE"
    batches = table(
        ["batch", "state", *(name.replace("_", " ") for name in counters)],
        [[line["batch"], line["state"], *(line[name] for name in counters)] for line in report["batches"]],
    )
    collections = table(
        ["collection", "sources", "rows", "searchable pairs", "stale"],
        [
            [line["collection"], line["sources"], line["rows"], line["searchable"], line["stale"]]
            for line in report["collections"]
        ],
    )
    return "\n\n".join([batches, collections, _generation_text(report["generation"])])


def _generation_text(generation: dict[str, Any] | None) -> str:
    if generation is None:
        return "No text has been embedded yet."
    return (
        f"{generation['model']}, {generation['dimensions']} dimensions ({generation['status']}): "
        f"{generation['completed']:,} texts embedded, {generation['pending']:,} pending, "
        f"{generation['failed']:,} failed."
    )
