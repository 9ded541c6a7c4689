"""Reader of one JSON text: an array of objects, or a single object that is a record itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.compression import open_plain
from helix_pipelines.parsing.json_elements import JsonElements
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.object_rows import SAMPLE_RECORDS, ObjectRows
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.strict_json import StrictDecoder
from helix_pipelines.parsing.text import storable, text_blocks, undecoded
from helix_pipelines.resilience.errors import FileRejectedError


class JsonArrayReader:
    """Streams the elements of an array, after one pass that makes sure that the array is complete.

    Without that pass, an export that breaks off would be found out when its first half is already in the database.
    Raises FileRejectedError: INVALID_JSON, NESTED_TOO_DEEPLY, RECORD_TOO_LONG, EMPTY_FILE, COLUMNS_NOT_FOUND,
    MAPPING_COLUMN_MISSING, UNSUPPORTED_LAYOUT, TOO_MANY_COLUMNS.
    """

    version = "json-array-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self.notes: list[Note] = []
        self._sniffed = request.sniffed
        self._limits = request.limits
        self._decoder = StrictDecoder(request.limits.nesting)
        self._objects = ObjectRows(self._survey(), request.mapping, request.limits)
        self.mapping = self._objects.mapping

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` elements, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _elements(self) -> Iterator[tuple[Any, str]]:
        sniffed = self._sniffed
        with open_plain(self._request.source, sniffed.compression, self._limits) as binary:
            blocks = text_blocks(binary, sniffed.encoding or "utf-8", sniffed.errors)
            yield from JsonElements(blocks, self._decoder, self._limits)

    def _survey(self) -> list[dict[str, Any]]:
        """Read the whole text; the first objects are returned as the sample of their keys."""
        sample: list[dict[str, Any]] = []
        kinds = set()
        for value, _ in self._elements():
            kinds.add(type(value).__name__)
            if isinstance(value, dict) and len(sample) < SAMPLE_RECORDS:
                sample.append(value)
        if not kinds:
            raise FileRejectedError("EMPTY_FILE", "The file is an empty JSON array: there are no records in it.")
        if not sample:
            raise FileRejectedError(
                "UNSUPPORTED_LAYOUT",
                f"The JSON array holds no objects (found: {', '.join(sorted(kinds))}). "
                'Export records as objects: [{"question": "...", "answer": "..."}].',
            )
        return sample

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        for number, (value, text) in enumerate(self._elements(), start=1):
            yield ([self._row(number, value, text)] if number > skip else []), len(text)

    def _row(self, number: int, value: Any, text: str) -> ParsedRow:
        try:
            if self._sniffed.has_bad_bytes and (found := undecoded(text)):
                raise RefusedRowError(RowCode.BAD_ENCODING, f"{len(found)} bytes are not text, first {found[0]}")
            self._decoder.check(value, text)
        except RefusedRowError as refusal:
            raw = storable(text, self._limits.cell_chars)
            return ParsedRow(number, code=refusal.code, reason=refusal.reason, raw=raw)
        return self._objects.row(number, value, len(text))
