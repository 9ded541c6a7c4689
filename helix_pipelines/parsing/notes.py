"""What a file's owner should know of an import that went well: nothing is left out of a file without a word."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class NoteCode(StrEnum):
    """The closed list of notes."""

    SHEET_HIDDEN = "SHEET_HIDDEN"
    SHEET_WITHOUT_PAIRS = "SHEET_WITHOUT_PAIRS"
    FORMULA_NOT_COMPUTED = "FORMULA_NOT_COMPUTED"
    PART_LEFT_OUT = "PART_LEFT_OUT"

    @property
    def meaning(self) -> str:
        """One line for people."""
        return MEANINGS[self]


MEANINGS = {
    NoteCode.SHEET_HIDDEN: "A hidden sheet was left out; name it with --sheet to have it read.",
    NoteCode.SHEET_WITHOUT_PAIRS: "A sheet without question and answer columns was left out.",
    NoteCode.FORMULA_NOT_COMPUTED: "Formulas that no program has computed yet were read as they are written.",
    NoteCode.PART_LEFT_OUT: "Rows above a header, text below headings that are no questions, lists without records.",
}


class Note(msgspec.Struct, frozen=True):
    """A part of a file that was left out, or read in a way that may surprise; `message` says what and what to do."""

    code: NoteCode
    message: str
