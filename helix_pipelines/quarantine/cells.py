"""Texts in the cells of a spreadsheet and back: nothing is run as a formula, nothing is changed or cut without a word."""

from __future__ import annotations

import re
from decimal import Context, Decimal

from helix_pipelines.parsing.text import storable

LONGEST_CELL = 32_767
"""Characters of a cell in Excel and in LibreOffice, in UTF-16."""
CUT_CELL = 16_000
"""What is shown of a longer text: this many characters fit into a cell whatever they are."""

_FORMULA = re.compile(r"'*(?:[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212]|[\t\r\n])")
"""How a text begins that some spreadsheet takes for a formula, after apostrophes that would be taken for ours."""
_CUT = re.compile(r" \.\.\. \[[\d,]+ more characters\]\Z")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
"""Characters that XML, and so a workbook, cannot hold; carriage returns are line ends there."""
_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
_LINE_ENDS = re.compile(r"\r\n?")


def neutralised(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet might run it; `restored` takes exactly that one off again."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(cell: str) -> str:
    """The text of a cell that `neutralised` made, or that a person typed: only an apostrophe before a formula is ours."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def workbook_cell(text: str) -> str:
    r"""A neutralised text as a workbook can hold it: other characters become `\x0b`, a long text is cut and says so."""
    written = _UNWRITABLE.sub(_visible, _LINE_ENDS.sub("\n", neutralised(text)))
    fits = len(written) <= CUT_CELL or len(written.encode("utf-16-le")) // 2 <= LONGEST_CELL
    return written if fits else storable(written, CUT_CELL)


def is_unchanged(cell: str, text: str) -> bool:
    """Whether a cell holds what an export wrote for `text`, in either format.

    Line ends are the spreadsheet's business, and so is how it spells a number: opening a CSV makes 7 of 007, and 1.23E+15 of a
    long one.
    """
    found = _LINE_ENDS.sub("\n", cell)
    written = (neutralised(text), workbook_cell(text), text)
    return any(found == _LINE_ENDS.sub("\n", form) for form in written) or _is_same_number(cell, text)


def is_cut(cell: str, text: str = "") -> bool:
    """Whether a cell is the beginning of something longer: by our own mark, or as spreadsheets cut a long `text`."""
    if _CUT.search(cell):
        return True
    return len(text) > LONGEST_CELL and len(cell) >= CUT_CELL and neutralised(text).startswith(cell)


def _is_same_number(cell: str, text: str) -> bool:
    if not (_NUMBER.fullmatch(cell) and _NUMBER.fullmatch(text)):
        return False
    shown, meant = Decimal(cell), Decimal(text)
    digits = len(shown.as_tuple().digits)
    return shown == meant or ("E" in cell.upper() and Context(prec=digits).plus(meant) == shown)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - where \x ends
