"""The quarantine as a table for people: CSV or a workbook, safe to open, written whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Protocol, Self

import psycopg

from helix_pipelines.quarantine.cells import neutralised, workbook_cell
from helix_pipelines.quarantine.rows import FIELD_COLUMNS, QuarantinedRow, column_of, header
from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines.storage.quarantine import Filters, Line, Place, streamed_quarantine

SUFFIXES = (".xlsx", ".csv")
WORKBOOK_ROWS = 1_048_575
"""Rows below the header that a sheet has."""
OWNER_ONLY = 0o600
"""The rows may hold what nobody else on the machine should read."""
COLUMN_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: how many rows, and fields that have no column (a replay keeps them as they are)."""

    rows: int
    fields_without_column: int


class _Table(Protocol):
    """A table that is complete at the end of its block, and leaves nothing behind where that is an error."""

    def __enter__(self) -> Self: ...
    def __exit__(self, error: object, *_: object) -> None: ...
    def write(self, texts: Sequence[str]) -> None: ...


def export_quarantine(connection: psycopg.Connection, path: Path, filters: Filters, *, force: bool = False) -> Exported:
    """Write the rows to `path`, whose suffix is .csv or .xlsx; no file is written where there is no row.

    Raises UsageError (EXPORT_FORMAT_UNKNOWN, EXPORT_TOO_LONG, FILE_EXISTS), SetupError (EXPORT_UNWRITABLE).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            "EXPORT_FORMAT_UNKNOWN", f"{path.name!r} ends neither in .xlsx nor in .csv: choose one of them."
        )
    with streamed_quarantine(connection, filters) as (names, lines):
        columns = [name for name in names if column_of(name) is not None][:FIELD_COLUMNS]
        rows = _latest(lines)
        first = next(rows, None)
        if first is None:
            return Exported(0, 0)
        with _replacing(path, force=force) as file, _table(path, file) as table:
            table.write(header(columns))
            count = 1
            table.write(first.cells(columns))
            for count, row in enumerate(rows, start=2):  # noqa: B007 - the last one is the number of rows
                table.write(row.cells(columns))
    return Exported(count, len(names) - len(columns))


def _latest(lines: Iterable[Line]) -> Iterator[QuarantinedRow]:
    """Each row once: where a correction was refused in its turn, which comes first, as that one has it."""
    corrected: set[Place] = set()
    for line in lines:
        row = QuarantinedRow.of(line)
        if row.place in corrected:
            continue
        if line["import"] != line["root"]:
            corrected.add(row.place)
        yield row


@contextmanager
def _replacing(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its name once it is complete; after an error nothing of it is left."""
    _refuse_existing(path, force=force)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _refuse_existing(path, force=force)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(
            "EXPORT_UNWRITABLE", f"{path} cannot be written: {error.strerror}. Choose another place with -o."
        ) from error


def _refuse_existing(path: Path, *, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise UsageError(
            "FILE_EXISTS", f"{path} is there already: choose another name with -o, or replace it with --force."
        )


def _table(path: Path, file: BinaryIO) -> _Table:
    return _WorkbookTable(file) if path.suffix.lower() == ".xlsx" else _CsvTable(file)


class _CsvTable:
    """UTF-8 with a byte order mark, by which Excel knows it; every cell is quoted."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
        self._writer = csv.writer(self._text, quoting=csv.QUOTE_ALL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._text.detach()

    def write(self, texts: Sequence[str]) -> None:
        self._writer.writerow([neutralised(text) for text in texts])


class _WorkbookTable:
    """A sheet whose cells are all texts, also those that are typed into it later; rows go to disk as they come."""

    def __init__(self, file: BinaryIO) -> None:
        import xlsxwriter  # it brings no types

        self._scratch = TemporaryDirectory(prefix="helix-export-")  # closed to others, like the export itself
        options = {
            "constant_memory": True,
            "tmpdir": self._scratch.name,
            "strings_to_formulas": False,
            "strings_to_urls": False,
        }
        self._workbook = xlsxwriter.Workbook(file, options)
        self._format = self._workbook.add_format({"num_format": "@", "valign": "top"})
        self._sheet = self._workbook.add_worksheet("quarantine")
        self._sheet.freeze_panes(1, 0)
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:
                self._workbook.close()
            else:
                self._sheet.row_data_fh.close()  # what the library would only do on closing the workbook
        finally:
            self._scratch.cleanup()

    def write(self, texts: Sequence[str]) -> None:
        if self._rows > WORKBOOK_ROWS:
            raise UsageError(
                "EXPORT_TOO_LONG", f"A workbook has room for {WORKBOOK_ROWS:,} rows: export to .csv, or choose rows."
            )
        if self._rows == 0:  # only the columns in use: every row is written as wide as the widest format
            self._sheet.set_column(0, len(texts) - 1, COLUMN_WIDTH, self._format)
        for column, text in enumerate(texts):
            if text:
                self._sheet.write_string(self._rows, column, workbook_cell(text), self._format)
        self._rows += 1
