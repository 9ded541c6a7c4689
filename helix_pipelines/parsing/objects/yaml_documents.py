"""Reader of YAML: the same layouts as in JSON, in one document or several."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.objects.layout_survey import Found, Layout, LayoutSurvey
from helix_pipelines.parsing.objects.strict_json import refuse_flawed
from helix_pipelines.parsing.objects.yaml_values import YamlValues
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.text import BOM, storable
from helix_pipelines.resilience.errors import FileRejectedError

_BAD_BYTE = re.compile("[\udc80-\udcff]")
_STAND_IN = re.compile("[\U0010ff80-\U0010ffff]")
_STAND_IN_OFFSET = 0x10FF00 - 0xDC00
"""libyaml takes no undecoded bytes, so that characters of private use stand in for them while it parses."""


class YamlReader:
    """Holds the values of a YAML file and gives their records; the elements of a list and several documents count alike.

    `row_number` is the number of the record in the file. Raises FileRejectedError: DOCUMENT_TOO_LARGE, INVALID_YAML,
    NESTED_TOO_DEEPLY, TOO_MANY_ALIASES, EMPTY_FILE, COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING, UNSUPPORTED_LAYOUT,
    TOO_MANY_COLUMNS.
    """

    version = "yaml-1"

    def __init__(self, request: ReadRequest) -> None:
        self._limits = request.limits
        self._values = _elements(
            YamlValues(_text(request), request.limits), has_bad_bytes=request.sniffed.has_bad_bytes
        )
        self._layout = self._survey(request)
        self.mapping = self._layout.mapping
        self.notes: list[Note] = self._layout.notes

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` records, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _survey(self, request: ReadRequest) -> Layout:
        survey = LayoutSurvey(request.mapping, request.limits)
        for value in self._values:
            if survey.wants(()):
                survey.look(value, ())
        return survey.layout({})

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        number = 0
        for value in self._values:
            for found in self._layout.records(value, ()):
                number += 1
                if number > skip:
                    text = json.dumps(found.record, ensure_ascii=False)
                    yield [self._row(number, found, text)], len(text)

    def _row(self, number: int, found: Found, text: str) -> ParsedRow:
        try:
            if bad := _BAD_BYTE.search(text):
                raise RefusedRowError(RowCode.BAD_ENCODING, f"bytes are not text, first \\x{ord(bad[0]) - 0xDC00:02x}")
            refuse_flawed(found.record)
        except RefusedRowError as refusal:
            raw = storable(text, self._limits.cell_chars)
            return ParsedRow(number, code=refusal.code, reason=refusal.reason, raw=raw)
        return found.objects.row(number, found.record, len(text))


def _text(request: ReadRequest) -> str:
    """The decoded text of the file, which is checked for its size before it is held."""
    sniffed, most = request.sniffed, request.limits.document_bytes
    with open_plain(request.source, sniffed.compression, request.limits) as binary:
        content = binary.read(most + 1)
    if len(content) > most:
        raise FileRejectedError(
            "DOCUMENT_TOO_LARGE",
            f"The YAML file is larger than {most:,} bytes, which have to be held at once. "
            "Export it as JSON Lines or CSV, split it, or raise HELIX_MAX_DOCUMENT_BYTES.",
        )
    text = codecs.decode(content, sniffed.encoding or "utf-8", sniffed.errors).removeprefix(BOM)
    if not sniffed.has_bad_bytes:
        return text
    return _BAD_BYTE.sub(lambda byte: chr(ord(byte[0]) + _STAND_IN_OFFSET), text)


def _elements(values: YamlValues, *, has_bad_bytes: bool) -> list[Any]:
    """The documents of a file, those that are lists by their elements."""
    elements: list[Any] = []
    for value in values:
        elements += value if isinstance(value, list) else [value]
    if has_bad_bytes:
        # Read back from a text, as the values of aliases are shared.
        plain = json.dumps(elements, ensure_ascii=False)
        restored: list[Any] = json.loads(_STAND_IN.sub(lambda char: chr(ord(char[0]) - _STAND_IN_OFFSET), plain))
        return restored
    return elements
