"""Reader of delimited text: CSV, TSV and any other single-character separator."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain

from helix_pipelines.ingestion.dialects import Dialect
from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.notes import Note, NoteCode
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.tables.csv_records import CsvRecords, Record, TornLine
from helix_pipelines.parsing.tables.table_rows import TableRows
from helix_pipelines.parsing.text import ANY_NEWLINE, line_windows
from helix_pipelines.resilience.errors import FileRejectedError

TITLE_CHARS = 100


class DelimitedReader:
    """Streams the records below the header. `mapping` says which header name plays which role.

    Raises FileRejectedError: COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING, TOO_MANY_COLUMNS, HEADER_UNREADABLE, EMPTY_FILE.
    """

    version = "delimited-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self.notes: list[Note] = []
        self._sniffed = request.sniffed
        self._limits = request.limits
        header = self._read_header()
        self._note_title()
        self._table = TableRows(
            header, request.mapping, request.limits, is_clean=not (self._sniffed.has_bad_bytes or self._sniffed.has_nul)
        )
        self.mapping = self._table.mapping

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` records, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        number = 0
        is_below_header = False
        for records, size in self._records(self._table.width):
            # The header is the first record with text; taking it leaves the iterator at the first row.
            is_below_header = is_below_header or any(_has_text(record) for record in records)
            rows = self._table.rows(records, number, size)
            yield rows[max(0, skip - number) :] if number < skip else rows, size
            number += len(rows)

    def _records(self, width: int | None = None) -> Generator[tuple[Iterator[Record], int], None, None]:
        dialect = self._sniffed.dialect or Dialect(",")
        with closing(self._lines()) as lines:
            windows: Iterator[list[str]] = lines
            if dialect.preamble_lines:
                first = next(windows, [])
                windows = chain([first[dialect.preamble_lines :]], windows)
            yield from CsvRecords(windows, dialect.delimiter, self._limits, width)

    def _lines(self) -> Generator[list[str], None, None]:
        sniffed = self._sniffed
        with open_plain(self._request.source, sniffed.compression, self._limits) as binary:
            encoding, longest = sniffed.encoding or "utf-8", self._limits.record_chars
            yield from line_windows(binary, encoding, sniffed.errors, ANY_NEWLINE, longest)

    def _note_title(self) -> None:
        """Say what stands above the header, but for the line that only names the delimiter."""
        count = self._sniffed.dialect.preamble_lines if self._sniffed.dialect else 0
        title = " / ".join(line.strip() for line in next(self._lines(), [])[:count] if line.strip())
        if title and not title.lower().startswith("sep="):
            message = f"The {count} lines above the header were left out: {title[:TITLE_CHARS]!r}."
            self.notes.append(Note(NoteCode.PART_LEFT_OUT, message))

    def _read_header(self) -> list[str]:
        with closing(self._records()) as windows:
            header = next((record for records, _ in windows for record in records if _has_text(record)), None)
        if header is None:
            raise FileRejectedError("EMPTY_FILE", "The file has no header line.")
        if isinstance(header, TornLine):
            raise FileRejectedError(
                "HEADER_UNREADABLE", f"The header line cannot be read: {header.reason}. {header.code.hint}"
            )
        return header


def _has_text(record: Record) -> bool:
    return isinstance(record, TornLine) or any(not field.isspace() for field in record if field)
