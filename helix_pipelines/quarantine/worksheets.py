"""A corrected export, read by the product's own readers: whatever format and encoding the spreadsheet saved it in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import open_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.quarantine.cells import restored
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.storage.quarantine import Place

CHUNK_ROWS = 2_000
"""Rows that are looked up at once: each look passes all quarantined rows."""
DECIDED_LATER = frozenset({"QUESTION_MISSING", "ANSWER_MISSING", "TOO_FEW_FIELDS"})
"""A row with a blank is no reason to stop: it may be one that was not worked on yet."""


@dataclass(frozen=True, slots=True)
class WorksheetRow:
    """A row of the corrected table: `number` counts below the header, `place` is None where it names no row.

    `cells` are texts by column as the table has them; `flaw` is a code and a reason where the row itself cannot be read.
    """

    number: int
    place: Place | None
    cells: Mapping[str, str]
    flaw: tuple[str, str] | None = None


def read_worksheet(path: Path, limits: ParseLimits) -> Iterator[list[WorksheetRow]]:
    """The rows of a corrected export, in chunks.

    Raises FileRejectedError: what recognising and reading a file raises, NOT_AN_EXPORT.
    """

    def source() -> BinaryIO:
        return path.open("rb")

    try:
        sniffed = sniff(source, path.name, limits)
    except OSError as error:
        raise FileRejectedError("FILE_UNREADABLE", f"{path} cannot be read: {error.strerror}.") from error
    request = ReadRequest(source, sniffed, limits, {"question": "question", "answer": "answer"})
    try:
        with open_reader(request) as reader:
            for chunk in reader.chunks(max_rows=CHUNK_ROWS):
                yield [_worksheet_row(row, reader.mapping) for row in chunk]
    except FileRejectedError as error:
        if error.code == "MAPPING_COLUMN_MISSING":
            raise _not_an_export(path) from error
        raise


def _not_an_export(path: Path) -> FileRejectedError:
    return FileRejectedError(
        "NOT_AN_EXPORT",
        f"{path.name} has not the columns of an export: correct the file that `helix quarantine export` wrote, and leave its"
        " header line as it is.",
    )


def _worksheet_row(row: ParsedRow, mapping: Mapping[str, str]) -> WorksheetRow:
    cells: dict[str, str] = {}
    if row.code is None:
        cells = {column: getattr(row, role) or "" for role, column in mapping.items()}
        cells |= {column: _text(value) for column, value in row.extra.items()}
    elif isinstance(row.raw, dict):
        cells = {column: _text(value) for column, value in row.raw.items()}
    cells = {restored(column): text for column, text in cells.items()}
    flaw = None
    if row.code is not None and row.code not in DECIDED_LATER:
        flaw = (row.code, row.reason or "")
    return WorksheetRow(row.row_number, _place(cells), cells, flaw)


def _place(cells: Mapping[str, str]) -> Place | None:
    root, number = (restored(cells.get(name, "")).strip() for name in ("helix_import", "helix_row"))
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (root, number)):  # noqa: PLR2004 - of a 32-bit number
        return None
    return Place(int(root), restored(cells.get("helix_sheet", "")), int(number))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
