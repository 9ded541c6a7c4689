"""Reader of JSON Lines: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.objects.object_rows import SAMPLE_RECORDS, ObjectRows
from helix_pipelines.parsing.objects.strict_json import StrictDecoder
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.text import UNIX_NEWLINE, line_windows, storable, undecoded
from helix_pipelines.resilience.errors import FileRejectedError


class JsonLinesReader:
    r"""Streams the lines that are not blank; `row_number` is the number of the line. A bad line never affects its neighbours.

    Lines end at \n or \r\n. Raises FileRejectedError: COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING, UNSUPPORTED_LAYOUT,
    TOO_MANY_COLUMNS.
    """

    version = "json-lines-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self.notes: list[Note] = []
        self._sniffed = request.sniffed
        self._limits = request.limits
        self._decoder = StrictDecoder(request.limits.nesting)
        self._objects = ObjectRows(self._sample(), request.mapping, request.limits)
        self.mapping = self._objects.mapping

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` lines that are not blank, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _windows(self) -> Iterator[list[str]]:
        sniffed = self._sniffed
        with open_plain(self._request.source, sniffed.compression, self._limits) as binary:
            encoding, longest = sniffed.encoding or "utf-8", self._limits.record_chars
            yield from line_windows(binary, encoding, sniffed.errors, UNIX_NEWLINE, longest)

    def _sample(self) -> list[dict[str, Any]]:
        """The first objects, as the sample of their keys."""
        sample: list[dict[str, Any]] = []
        for window in self._windows():
            for line in window:
                try:
                    value = self._decode(line)
                except RefusedRowError:
                    continue  # its own row will say so
                if isinstance(value, dict):
                    sample.append(value)
                    if len(sample) == SAMPLE_RECORDS:
                        return sample
        if not sample:
            raise FileRejectedError(
                "UNSUPPORTED_LAYOUT",
                'No line of the file is a JSON object. Write one object a line: {"question": "...", "answer": "..."}.',
            )
        return sample

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        line_number = records = 0
        for window in self._windows():
            rows: list[ParsedRow] = []
            size = 0
            for line in window:
                line_number += 1
                size += len(line)
                if line.isspace():
                    continue
                records += 1
                if records > skip:
                    rows.append(self._row(line_number, line))
            yield rows, size

    def _row(self, number: int, line: str) -> ParsedRow:
        try:
            value = self._decode(line)
        except RefusedRowError as refusal:
            raw = storable(line.rstrip("\r\n"), self._limits.cell_chars)
            return ParsedRow(number, code=refusal.code, reason=refusal.reason, raw=raw)
        return self._objects.row(number, value, len(line))

    def _decode(self, line: str) -> Any:
        if len(line) > self._limits.record_chars:
            reason = f"the line has more than {self._limits.record_chars:,} characters"
            raise RefusedRowError(RowCode.CELL_TOO_LONG, reason)
        if self._sniffed.has_bad_bytes and (found := undecoded(line)):
            raise RefusedRowError(RowCode.BAD_ENCODING, f"{len(found)} bytes are not text, first {found[0]}")
        return self._decoder.decode(line)
