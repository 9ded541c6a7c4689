"""Formulas of an Excel workbook that were never computed: programs that write workbooks leave that to Excel.

The library gives such cells as blank. What a person would see after opening the file cannot be known here, but that there is
something can: the formula itself is what the cell holds.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from xml.parsers import expat
from xml.sax.saxutils import unescape

from helix_pipelines.parsing.containers.packages import part_blocks, plain_name

Formulas = dict[int, dict[int, str]]
"""Row number and column number as in the sheet, from 1 -> the formula with its equals sign."""

MOST_FORMULAS = 200_000
"""Cells beyond stay blank, and so are reported row by row."""
LONGEST_CELL = 1 << 17
"""A formula has at most 8,192 characters; what is longer is a text."""

_TEXT_RESULT = rb"""[^<>]*\bt=["']str["']"""  # a formula whose result is the empty text has been computed
_FORMULA = re.compile(
    rb"<(?:\w+:)?c\s(?!" + _TEXT_RESULT + rb""")[^<>]*?\br=["']([A-Z]+)([0-9]+)["'][^<>]*>\s*"""
    rb"<(?:\w+:)?f(?:\s[^<>]*)?(?<!/)>([^<]+)</(?:\w+:)?f>\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</"
)
_CELL_END = re.compile(rb"</(?:\w+:)?c>")


def uncached_formulas(package: zipfile.ZipFile) -> dict[str, Formulas]:
    """Sheet name -> its formulas without a stored result. Raises FileRejectedError as `part_blocks` does."""
    parts = {plain_name(part): part for part in package.infolist()}
    targets = _attributes(package, parts.get("xl/_rels/workbook.xml.rels"), "Relationship")
    paths = {given.get("Id"): _part_path(given.get("Target", "")) for given in targets}
    found: dict[str, Formulas] = {}
    for sheet in _attributes(package, parts.get("xl/workbook.xml"), "sheet"):
        path = next((paths[value] for key, value in sheet.items() if key.endswith(":id") and value in paths), "")
        formulas: Formulas = {}
        if path in parts:
            for row, column, formula in islice(_formulas(part_blocks(package, parts[path])), MOST_FORMULAS):
                formulas.setdefault(row, {})[column] = formula
        if formulas:
            found[sheet.get("name", "")] = formulas
    return found


def column_number(letters: bytes) -> int:
    """The number of a column from 1: A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _formulas(blocks: Iterator[bytes]) -> Iterator[tuple[int, int, str]]:
    rest = b""
    for block in blocks:
        text = rest + block
        for column, row, formula in _FORMULA.findall(text):
            yield int(row), column_number(column), f"={unescape(formula.decode('utf-8', 'replace'))}"
        ends = [end.end() for end in _CELL_END.finditer(text)]
        rest = text[ends[-1] :] if ends else text
        rest = rest[-LONGEST_CELL:]


def _attributes(package: zipfile.ZipFile, part: zipfile.ZipInfo | None, element: str) -> list[dict[str, str]]:
    """The attributes of every `element` in an XML part; none where it is not there or cannot be read.

    An unreadable part is told of by the library that reads the workbook.
    """
    found: list[dict[str, str]] = []
    if part is None:
        return found

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == element:
            found.append(attributes)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        for block in part_blocks(package, part):
            parser.Parse(block)
    except expat.ExpatError:
        return []
    return found


def _part_path(target: str) -> str:
    """Where a relationship of the workbook leads, as `plain_name` spells it."""
    return posixpath.normpath(posixpath.join("/xl", target.replace("\\", "/"))).lstrip("/").lower()
