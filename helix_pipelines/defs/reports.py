"""A stage's report as Dagster's metadata: figures that become plots, and a table of files that a person can read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from helix_pipelines.embedding.filling import EmbeddingReport
from helix_pipelines.storage.imports import OUTCOMES, FileLine

FILES_SHOWN = 50
"""Lines of a table: files with something wrong come first, and all of them are in `helix status`."""
MESSAGE_CHARS = 300
COLUMNS = ("import", "file", "status", "rows_read", *OUTCOMES, "pending", "reason, notes")


def row_counts(files: Sequence[FileLine]) -> dict[str, int]:
    """Rows read and rows per outcome, summed over the files; they add up."""
    names = ("rows_read", *OUTCOMES, "pending")
    return {name: sum(getattr(file, name) for file in files) for name in names}


def file_metadata(files: Sequence[FileLine], seconds: float) -> dict[str, dg.MetadataValue | float | int]:
    """What every asset that goes through files shows: how many, which, what became of them, and how long it took."""
    return {
        "seconds": round(seconds, 3),
        "files": len(files),
        "files_rejected": sum(file.status == "rejected" for file in files),
        "imports": dg.MetadataValue.json([file.import_id for file in files]),
        "file_table": dg.MetadataValue.md(file_table(files)),
        **row_counts(files),
    }


def embedding_metadata(report: EmbeddingReport) -> dict[str, dg.MetadataValue | float | int | str]:
    """What embedding a batch took and cost, and what could not be embedded."""
    generation = report.generation
    return {
        **({"model": generation.model, "dimensions": generation.dimensions} if generation else {}),
        "seconds": round(report.seconds, 3),
        "texts": report.texts,
        "cached": report.cached,
        "requests": report.requests,
        "tokens": report.tokens,
        "cost": report.cost,
        "failed": report.failed,
        "pending": report.pending,
        "dagster/row_count": report.texts + report.cached,
    }


def refused_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue]:
    """The rows whose text has no vector for good, by file and row; nothing where there is none."""
    if not rows:
        return {}
    lines = [[row["path"], row["sheet"] or "", row["row"], row["code"], row["message"] or ""] for row in rows]
    return {"failed_table": dg.MetadataValue.md(markdown_table(("file", "sheet", "row", "code", "reason"), lines))}


def waiting(report: EmbeddingReport) -> dict[str, dg.MetadataValue | float | int | str]:
    """What is shown of a batch that waits: how far it came, why it does not go on, and when it will."""
    reason = report.unavailable
    assert reason is not None
    later = (
        {} if reason.retry_in is None else {"next_attempt": dg.MetadataValue.timestamp(time.time() + reason.retry_in)}
    )
    return {
        "state": "paused" if reason.retry_in is None else "deferred",
        "code": reason.code,
        "message": reason.message,
        **later,
        **{name: value for name, value in embedding_metadata(report).items() if name != "dagster/row_count"},
    }


def file_table(files: Sequence[FileLine]) -> str:
    """The files as a Markdown table: rejected ones first, then those with quarantined rows, then those with notes."""
    ordered = sorted(files, key=lambda file: (file.code is None, -file.quarantined, not file.notes, file.import_id))
    shown = [_line(file) for file in ordered[:FILES_SHOWN]]
    more = len(files) - len(shown)
    return markdown_table(COLUMNS, shown) + (f"\n\n... and {more:,} files more: `helix status`" if more > 0 else "")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A GitHub-style table; figures get thousands separators, and no cell can break out of its line."""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    return "\n".join([head, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _line(file: FileLine) -> list[object]:
    said = [(file.code, file.message)] if file.code else [(note["code"], note["message"]) for note in file.notes]
    counts = [getattr(file, name) for name in ("rows_read", *OUTCOMES, "pending")]
    return [
        str(file.import_id),
        file.path,
        file.status,
        *counts,
        " ".join(f"{code}: {message}" for code, message in said),
    ]


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = " ".join(str(value).split())[:MESSAGE_CHARS]
    for character, escaped in (("\\", "\\\\"), ("|", "\\|"), ("`", "\\`"), ("<", "&lt;"), ("[", "\\[")):
        text = text.replace(character, escaped)
    return text
