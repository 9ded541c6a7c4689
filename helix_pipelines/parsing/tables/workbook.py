"""Reader of workbooks: Excel (xlsx, xlsb, xls) and OpenDocument (ods), by python-calamine."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import cast

from python_calamine import (
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetMetadata,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.columns import map_columns
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note, NoteCode
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.tables.cell_texts import cell_text
from helix_pipelines.parsing.tables.sheet_choice import chosen_sheets, no_columns, shown_name
from helix_pipelines.parsing.tables.table_rows import TableRows
from helix_pipelines.parsing.tables.uncached_formulas import Formulas
from helix_pipelines.parsing.tables.workbook_parts import CELL_BYTES, check_workbook
from helix_pipelines.resilience.errors import FileRejectedError

PACKAGE_FORMATS = {"xlsx", "xlsb", "ods"}
HEADER_AMONG = 20
"""Filled rows in which the header is looked for: titles, dates and logos stand above it."""
WINDOW_ROWS = 64
"""Rows converted at a time: their cells fit the CPU's cache."""
HELD_SHARE = 4
"""Sheets that are found to be tables are held until they are read, up to this part of the reader's memory; others are
taken apart anew."""


@dataclass(frozen=True, slots=True)
class Table:
    """A sheet with pairs: its rows above and with the header, blank ones included, and what makes rows of the others."""

    sheet: str
    rows_above: int
    records: TableRows


class WorkbookReader:
    """Reads all visible sheets that have columns for question and answer, or those that the request names.

    Row numbers count the records below each sheet's own header, which may follow a title; `ParsedRow.sheet` is its name.
    Cells with errors (#N/A) are blank, as nobody wants them as an answer; where question or answer is such a cell, the row
    is quarantined as missing it. Excel formulas that were never computed are read as what they are, `=1+1`, with a note. A
    merged cell's text belongs to its first cell.

    Raises FileRejectedError: DAMAGED_WORKBOOK, ENCRYPTED_FILE, XML_ENTITIES, TOO_MANY_CELLS, TOO_MANY_SHEETS,
    TOO_MANY_COLUMNS, TOO_MANY_ROWS, SHEET_NOT_FOUND, COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING, EMPTY_FILE,
    EXPANDED_TOO_LARGE, EXPANSION_RATIO.
    """

    version = "workbook-1"

    def __init__(self, request: ReadRequest) -> None:
        self._limits = request.limits
        self.notes: list[Note] = []
        self._held: dict[str, CalamineSheet] = {}
        self._book, self._formulas = _open(request)
        self._tables = self._find_tables(request)
        self.mapping = self._tables[0].records.mapping

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` records of all sheets, in the workbook's order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        before = 0  # records of the sheets before this one
        for table in self._tables:
            number = 0
            sheet = self._held.pop(table.sheet, None) or self._load(table.sheet)
            above = table.rows_above
            for window, size in _windows(sheet, self._formulas.get(table.sheet, {}), self._limits):
                rows = table.records.rows(window[above:] if above else window, number, size)
                above = max(0, above - len(window))
                number += len(rows)
                for row in rows:
                    row.sheet = table.sheet
                missing = skip - (before + number - len(rows))
                yield rows[missing:] if missing > 0 else rows, size
            before += number

    def _find_tables(self, request: ReadRequest) -> list[Table]:
        if len(self._book.sheets_metadata) > self._limits.sheets:
            message = (
                f"The workbook has {len(self._book.sheets_metadata):,} sheets, {self._limits.sheets:,} are allowed."
            )
            raise FileRejectedError("TOO_MANY_SHEETS", f"{message} Split it, or raise HELIX_MAX_SHEETS.")
        worksheets = [found for found in self._book.sheets_metadata if found.typ is SheetTypeEnum.WorkSheet]
        chosen = chosen_sheets([found.name for found in worksheets], request.sheets)
        tables: list[Table] = []
        refused: dict[str, FileRejectedError] = {}
        rows = 0
        for found in worksheets:
            if found.name not in chosen or self._is_left_out(found, request):
                continue
            sheet = self._load(found.name)
            try:
                tables.append(self._table(found.name, sheet, request.mapping))
            except FileRejectedError as error:
                if request.sheets or error.code == "TOO_MANY_COLUMNS":
                    raise
                refused[found.name] = error
                continue
            rows += sheet.total_height
            self._note_formulas(found.name)
            self._hold(found.name, sheet)
        self._judge(tables, refused, rows)
        return tables

    def _is_left_out(self, found: SheetMetadata, request: ReadRequest) -> bool:
        if request.sheets or found.visible is SheetVisibleEnum.Visible:
            return False
        message = f"Sheet {shown_name(found.name)} is hidden and was left out. Unhide it, or name it with --sheet."
        self.notes.append(Note(NoteCode.SHEET_HIDDEN, message))
        return True

    def _table(self, name: str, sheet: CalamineSheet, mapping: Mapping[str, str]) -> Table:
        """The table of a sheet. Raises FileRejectedError where its header does not say what question and answer are."""
        widest, refusal = 0, FileRejectedError("EMPTY_FILE", "The sheet is empty.")
        windows = (window for window, _ in _windows(sheet, {}, self._limits))
        rows = enumerate(chain.from_iterable(windows))
        filled = ((at, names) for at, row in rows if any(names := [cell.strip() for cell in row]))
        for above, (at, names) in enumerate(islice(filled, HEADER_AMONG)):
            try:
                map_columns(names, mapping)
            except FileRejectedError as error:
                width = sum(map(bool, names))
                if width > widest:  # a title has one cell: what is told are the names of the row most like a header
                    widest, refusal = width, error
            else:
                if above:
                    self._note_rows_above(name, above)
                return Table(name, at + 1, TableRows(names, mapping, self._limits, is_clean=True))
        raise refusal

    def _note_rows_above(self, name: str, count: int) -> None:
        rows = "row" if count == 1 else f"{count} rows"
        message = f"The {rows} above the header of sheet {shown_name(name)} were left out as a title."
        self.notes.append(Note(NoteCode.PART_LEFT_OUT, message))

    def _note_formulas(self, name: str) -> None:
        count = sum(map(len, self._formulas.get(name, {}).values()))
        if count:
            message = (
                f"Sheet {shown_name(name)} has {count:,} formulas without a result, which were read as they are written. "
                "Open the workbook in a spreadsheet program, save it and hand it over again."
            )
            self.notes.append(Note(NoteCode.FORMULA_NOT_COMPUTED, message))

    def _judge(self, tables: list[Table], refused: Mapping[str, FileRejectedError], rows: int) -> None:
        """Note the sheets without pairs, or refuse the file where no sheet has any."""
        if not tables:
            raise no_columns(refused, [note.message for note in self.notes])
        if rows > self._limits.rows:
            message = f"The workbook has {rows:,} rows, {self._limits.rows:,} are allowed (HELIX_MAX_ROWS). Split it."
            raise FileRejectedError("TOO_MANY_ROWS", message)
        for name, error in refused.items():
            if error.code != "EMPTY_FILE":
                message = f"Sheet {shown_name(name)} was left out. {error.message}"
                self.notes.append(Note(NoteCode.SHEET_WITHOUT_PAIRS, message))

    def _hold(self, name: str, sheet: CalamineSheet) -> None:
        cells = sum(held.height * held.width for held in [*self._held.values(), sheet])
        if not self._held or cells * CELL_BYTES <= self._limits.reader_memory // HELD_SHARE:
            self._held[name] = sheet

    def _load(self, name: str) -> CalamineSheet:
        with _calamine_told():
            return self._book.get_sheet_by_name(name)


def _open(request: ReadRequest) -> tuple[CalamineWorkbook, dict[str, Formulas]]:
    """The workbook after a look at what it would ask for, and its formulas that were never computed."""
    limits = request.limits
    with request.source() as binary:
        size = binary.seek(0, io.SEEK_END)
        if size > limits.workbook_bytes:
            message = (
                f"The workbook has {size:,} bytes, {limits.workbook_bytes:,} are allowed (HELIX_MAX_WORKBOOK_BYTES)."
            )
            raise FileRejectedError("EXPANDED_TOO_LARGE", f"{message} Split it, or export it as CSV.")
        formulas = check_workbook(binary, limits) if request.sniffed.format in PACKAGE_FORMATS else {}
        binary.seek(0)
        with _calamine_told():
            return CalamineWorkbook.from_filelike(binary), formulas


def _windows(sheet: CalamineSheet, formulas: Formulas, limits: ParseLimits) -> Iterator[tuple[list[list[str]], int]]:
    """All rows from the top of the sheet as texts, with the number of characters in each window.

    Blank rows are lists of empty texts; all are as wide as the sheet.
    """
    with _calamine_told():
        rows = sheet.iter_rows()
    number = 1
    while True:
        with _calamine_told():
            window = list(islice(rows, WINDOW_ROWS))
        if not window:
            return
        try:
            text = "".join(chain.from_iterable(window))  # type: ignore[arg-type]
        except TypeError:  # not all cells are texts, as they are in most windows
            window = [[cell_text(cell) for cell in row] for row in window]
            text = "".join(chain.from_iterable(cast("list[list[str]]", window)))
        texts = cast("list[list[str]]", window)
        if formulas:
            texts = _with_formulas(texts, number, formulas, sheet)
            text = "".join(chain.from_iterable(texts))
        # TableRows looks closely at windows that may hold a cell beyond the limit: it has to at one with a NUL, too.
        size = len(text) if "\0" not in text else max(len(text), limits.cell_chars + 1)
        yield texts, size
        number += len(window)


def _with_formulas(texts: list[list[str]], number: int, formulas: Formulas, sheet: CalamineSheet) -> list[list[str]]:
    """The window that begins with row `number`, with formulas in its blank cells."""
    first_column = 1 + (sheet.start[1] if sheet.start else 0)
    return [
        [text or formulas[at].get(column, "") for column, text in enumerate(row, start=first_column)]
        if at in formulas
        else row
        for at, row in enumerate(texts, start=number)
    ]


@contextmanager
def _calamine_told() -> Iterator[None]:
    """Whatever the library throws is the file's fault."""
    try:
        yield
    except PasswordError as error:
        message = "The workbook is protected by a password. Remove the password and hand it over again."
        raise FileRejectedError("ENCRYPTED_FILE", message) from error
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise FileRejectedError(
            "DAMAGED_WORKBOOK",
            f"The workbook cannot be read ({str(error)[:200]}). Open it, save it again and hand over the copy.",
        ) from error
