"""What the XML of a workbook asks for, found out before a library is given it: entities, and how large its tables are.

Cells are kept as a rectangle from the first to the last used one, so that two cells in opposite corners of a sheet ask for
17 billion. Sheets of usual shape are told by one search over their text; others are looked at cell by cell.
"""

from __future__ import annotations

import re
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple
from xml.parsers import expat

from helix_pipelines.parsing.containers.packages import (
    ExpansionMeter,
    open_package,
    package_size,
    part_blocks,
    plain_name,
)
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.tables.uncached_formulas import Formulas, column_number, uncached_formulas
from helix_pipelines.resilience.errors import FileRejectedError

CELL_BYTES = 32
"""What a cell takes in the library's rectangle, filled or not."""
USUAL_CELLS = 26 * 1_000_000
"""The most cells of a sheet without columns beyond Z and rows beyond 999,999."""

_PROLOG_WITH_DTD = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<\?.*?\?>|<!--.*?-->)*<!DOCTYPE", re.DOTALL | re.IGNORECASE)
_FAR_CELL = re.compile(rb'r="(?:[A-Z]{2}|[A-Z]?[0-9]{7})')
"""It begins with plain characters, to which the search owes its speed."""
_UNUSUAL_QUOTES = b"r='"
_FORMULA_END = b"f>"
_CELL = re.compile(rb"""\br=["'](?:[A-Z]{2,}[0-9]|[A-Z]?[0-9]{7,})""")
_CELL = re.compile(rb"""<(?:\w+:)?c\s[^<>]*?\br=["']([A-Z]+)([0-9]+)["'][^<>]*(?<!/)>""")
_LONGEST_TAG = 1 << 16
_OVERLAP = 32
"""Blocks are searched together with this much of the one before, so that nothing is missed at their edges."""


class _Look(NamedTuple):
    has_far_cells: bool
    """Cells beyond column Z or row 999,999, or some that are spelled too unusually to tell."""
    has_formulas: bool


def check_workbook(binary: BinaryIO, limits: ParseLimits) -> dict[str, Formulas]:
    """Inflate every part of an xlsx, xlsb or ods workbook once and refuse what its XML must not ask for.

    Returns, by sheet name, the formulas of an xlsx workbook that have no stored result.

    Raises FileRejectedError: XML_ENTITIES, TOO_MANY_CELLS, EXPANDED_TOO_LARGE, EXPANSION_RATIO, ENCRYPTED_FILE,
    DAMAGED_WORKBOOK, and those of `open_package`.
    """
    most_cells = limits.reader_memory // 2 // CELL_BYTES
    with open_package(binary, limits) as package:
        has_formulas = False
        meter = ExpansionMeter(package_size(package), limits.workbook_bytes, "HELIX_MAX_WORKBOOK_BYTES", limits)
        for part in package.infolist():
            blocks = _metered(package, part, meter)
            name = plain_name(part)
            if name == "content.xml":
                _refuse_cells(OpenDocumentExtent().largest(_without_dtd(blocks)), most_cells)
            elif name.endswith((".xml", ".rels")):
                look = _look(_without_dtd(blocks))
                has_formulas = has_formulas or look.has_formulas
                if look.has_far_cells or most_cells < USUAL_CELLS:
                    _refuse_cells(sheet_extent(part_blocks(package, part)), most_cells)
            else:
                deque(blocks, maxlen=0)
        return uncached_formulas(package) if has_formulas else {}


def sheet_extent(blocks: Iterable[bytes]) -> int:
    """The cells of the rectangle that encloses all filled cells of a worksheet's XML."""
    columns: set[bytes] = set()
    first, last = 0, -1
    rest = b""
    for block in blocks:
        text = rest + block
        for column, digits in _CELL.findall(text):
            columns.add(column)
            row = int(digits)
            first, last = (row, row) if last < 0 else (min(first, row), max(last, row))
        start = text.rfind(b"<")
        rest = text[start:][:_LONGEST_TAG] if start >= 0 and b">" not in text[start:] else b""
    positions = [column_number(column) for column in columns]
    return (last - first + 1) * (max(positions) - min(positions) + 1) if positions else 0


class OpenDocumentExtent:
    """The cells of the largest table of an OpenDocument spreadsheet, where rows and cells say how often they repeat."""

    def __init__(self) -> None:
        self._largest = 0
        self._rows = self._last_row = self._width = 0
        self._column = self._last_column = 0
        self._row_repeat = 1

    def largest(self, blocks: Iterable[bytes]) -> int:
        """Rows times columns, counted to the last filled ones. Raises FileRejectedError (DAMAGED_WORKBOOK)."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            for block in blocks:
                parser.Parse(block)
            parser.Parse(b"", True)  # noqa: FBT003 - "this was the last block" is positional there
        except (expat.ExpatError, ValueError) as error:
            raise FileRejectedError(
                "DAMAGED_WORKBOOK",
                f"The spreadsheet is damaged ({error}). Open it, save it again and hand over the copy.",
            ) from error
        return self._largest

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        given = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        match name.rpartition(" ")[2]:
            case "table":
                self._rows = self._last_row = self._width = 0
            case "table-row":
                self._row_repeat = int(given.get("number-rows-repeated", "1"))
                self._column = self._last_column = 0
            case "table-cell" | "covered-table-cell":
                self._column += int(given.get("number-columns-repeated", "1"))
                if "value-type" in given or "formula" in given:
                    self._last_column = self._column

    def _end(self, name: str) -> None:
        match name.rpartition(" ")[2]:
            case "table-row":
                self._rows += self._row_repeat
                if self._last_column:
                    self._last_row = self._rows
                    self._width = max(self._width, self._last_column)
            case "table":
                self._largest = max(self._largest, self._last_row * self._width)


def _metered(package: zipfile.ZipFile, part: zipfile.ZipInfo, meter: ExpansionMeter) -> Iterator[bytes]:
    for block in part_blocks(package, part):
        meter.add(len(block))
        yield block


def _without_dtd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of an XML part. No office program writes a document type; it is how entities and file reads are smuggled in."""
    start = next(blocks, b"")
    if _PROLOG_WITH_DTD.match(start):
        raise FileRejectedError(
            "XML_ENTITIES",
            "The workbook's XML declares a document type, which no spreadsheet program does and which can make a reader "
            "fetch other files. Open it in a spreadsheet program, save it again and hand over the copy.",
        )
    yield start
    yield from blocks


def _look(blocks: Iterator[bytes]) -> _Look:
    """What a single cheap pass over an XML part tells. All blocks are taken."""
    start = next(blocks, b"")
    if b"worksheet" not in start:  # texts that many cells share, styles and the like
        deque(blocks, maxlen=0)
        return _Look(has_far_cells=False, has_formulas=False)
    has_far_cells, has_formulas = _UNUSUAL_QUOTES in start, False
    rest = b""
    for block in chain([start], blocks):
        text = rest + block
        has_far_cells = has_far_cells or _FAR_CELL.search(text) is not None
        has_formulas = has_formulas or _FORMULA_END in text
        rest = block[-_OVERLAP:]
    return _Look(has_far_cells, has_formulas)


def _refuse_cells(cells: int, most: int) -> None:
    if cells > most:
        raise FileRejectedError(
            "TOO_MANY_CELLS",
            f"A sheet reaches over {cells:,} cells, {most:,} are allowed. Delete the lonely cells far below or far right of "
            "the table, or export the sheet as CSV.",
        )
