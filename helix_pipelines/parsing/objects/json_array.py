"""Reader of one JSON text: an array of objects, or any nesting of lists and objects that holds records somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.objects.columnar import (
    COLUMNAR_CHARS,
    ColumnarElements,
    columnar_records,
    may_be_columnar,
)
from helix_pipelines.parsing.objects.json_elements import JsonElements, Path
from helix_pipelines.parsing.objects.layout_survey import Found, Layout, LayoutSurvey
from helix_pipelines.parsing.objects.object_rows import ObjectRows
from helix_pipelines.parsing.objects.strict_json import StrictDecoder, refuse_flawed
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.text import storable, text_blocks, undecoded


class JsonArrayReader:
    """Streams the records of a JSON text, after one pass that finds out where they are and makes sure that it is complete.

    Without that pass, an export that breaks off would be found out when its first half is already in the database.
    Raises FileRejectedError: INVALID_JSON, NESTED_TOO_DEEPLY, RECORD_TOO_LONG, EMPTY_FILE, COLUMNS_NOT_FOUND,
    MAPPING_COLUMN_MISSING, UNSUPPORTED_LAYOUT, TOO_MANY_COLUMNS.
    """

    version = "json-array-3"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self._sniffed = request.sniffed
        self._limits = request.limits
        self._decoder = StrictDecoder(request.limits.nesting)
        self._columnar = self._read_columnar()
        self._layout = self._survey()
        self.mapping = self._layout.mapping
        self.notes: list[Note] = self._layout.notes

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` records, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _read_columnar(self) -> list[dict[str, Any]] | None:
        """The records of a document that is written column by column; its start tells that most others are not."""
        with self._plain() as binary:
            blocks = text_blocks(binary, self._sniffed.encoding or "utf-8", self._sniffed.errors)
            text = next(blocks, "")
            if not may_be_columnar(text):
                return None
            for block in blocks:
                text += block
                if len(text) > COLUMNAR_CHARS:
                    return None
        try:
            return columnar_records(self._decoder.decode(text), self._request.mapping)
        except RefusedRowError:
            return None  # flaws are found again, and told, where the document is taken apart

    def _plain(self) -> BinaryIO:
        return open_plain(self._request.source, self._sniffed.compression, self._limits)

    @contextmanager
    def _elements(self) -> Iterator[JsonElements | ColumnarElements]:
        if self._columnar is not None:
            yield ColumnarElements(self._columnar)
            return
        sniffed = self._sniffed
        with self._plain() as binary:
            blocks = text_blocks(binary, sniffed.encoding or "utf-8", sniffed.errors)
            yield JsonElements(blocks, self._decoder, self._limits)

    def _survey(self) -> Layout:
        """Read the whole text; what the first parts of each list show is taken for the layout."""
        survey = LayoutSurvey(self._request.mapping, self._limits)
        with self._elements() as elements:
            for path, value, text in elements:
                if survey.wants(path):
                    try:
                        self._decoder.refuse_deep(value, text)
                    except RefusedRowError as refusal:
                        survey.pass_over(refusal.reason)
                    else:
                        survey.look(value, path)
            return survey.layout(elements.context)

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        number = 0
        at: Path = ()
        flat = self._layout.flat(at)
        question, answer = self.mapping["question"], self.mapping["answer"]
        with self._elements() as elements:
            for path, value, text in elements:
                if path != at:
                    flat, at = self._layout.flat(path), path
                # A plain record is looked at no further: most files have nothing else.
                if (
                    flat is not None
                    and value.__class__ is dict
                    and value.get(question).__class__ is str
                    and value.get(answer).__class__ is str
                ):
                    number += 1
                    yield ([self._row(flat, number, value, text)] if number > skip else []), len(text)
                    continue
                rows: list[ParsedRow] = []
                for row in self._rows_inside(number, path, value, text):
                    number += 1
                    if number > skip:
                        rows.append(row)
                yield rows, len(text)

    def _row(self, objects: ObjectRows, number: int, value: Any, text: str) -> ParsedRow:
        try:
            self._refuse_undecoded(text)
            self._decoder.check(value, text)
        except RefusedRowError as refusal:
            return self._refused(number, refusal, text)
        return objects.row(number, value, len(text))

    def _rows_inside(self, number: int, path: Path, value: Any, text: str) -> Iterator[ParsedRow]:
        """The rows of all records in a value, numbered from `number` + 1."""
        try:
            self._decoder.refuse_deep(value, text)
        except RefusedRowError as refusal:
            yield self._refused(number + 1, refusal, text)
            return
        is_doubtful = self._decoder.may_be_flawed(text) or (self._sniffed.has_bad_bytes and bool(undecoded(text)))
        for place, found in enumerate(self._layout.records(value, path), start=number + 1):
            yield (
                self._examined(place, found, text) if is_doubtful else found.objects.row(place, found.record, len(text))
            )

    def _examined(self, number: int, found: Found, text: str) -> ParsedRow:
        """The row of a record in a value that has a flaw somewhere."""
        record_text = text if found.is_whole else json.dumps(found.record, ensure_ascii=False)
        try:
            self._refuse_undecoded(record_text)
            refuse_flawed(found.record)
        except RefusedRowError as refusal:
            return self._refused(number, refusal, record_text)
        return found.objects.row(number, found.record, len(record_text))

    def _refuse_undecoded(self, text: str) -> None:
        if self._sniffed.has_bad_bytes and (found := undecoded(text)):
            raise RefusedRowError(RowCode.BAD_ENCODING, f"{len(found)} bytes are not text, first {found[0]}")

    def _refused(self, number: int, refusal: RefusedRowError, text: str) -> ParsedRow:
        raw = storable(text, self._limits.cell_chars)
        return ParsedRow(number, code=refusal.code, reason=refusal.reason, raw=raw)
