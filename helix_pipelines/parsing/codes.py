"""Why a single record is refused: a closed list of codes, each with the hint that people get beside it."""

from __future__ import annotations

from enum import StrEnum


class RowCode(StrEnum):
    """Quarantine code of a record. The member is the text that the ledger stores; `hint` says how to repair the record."""

    QUESTION_MISSING = "QUESTION_MISSING"
    ANSWER_MISSING = "ANSWER_MISSING"
    BAD_ENCODING = "BAD_ENCODING"
    NUL_BYTE = "NUL_BYTE"
    CELL_TOO_LONG = "CELL_TOO_LONG"
    TOO_MANY_FIELDS = "TOO_MANY_FIELDS"
    TOO_FEW_FIELDS = "TOO_FEW_FIELDS"
    UNCLOSED_QUOTE = "UNCLOSED_QUOTE"
    STRAY_QUOTE = "STRAY_QUOTE"
    INVALID_JSON = "INVALID_JSON"
    NOT_A_RECORD = "NOT_A_RECORD"
    NOT_A_TEXT = "NOT_A_TEXT"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    NON_FINITE_NUMBER = "NON_FINITE_NUMBER"
    LONE_SURROGATE = "LONE_SURROGATE"
    NESTED_TOO_DEEPLY = "NESTED_TOO_DEEPLY"

    @property
    def hint(self) -> str:
        """One line for the person who repairs the record."""
        return HINTS[self]


HINTS: dict[RowCode, str] = {
    RowCode.QUESTION_MISSING: "Fill in the question.",
    RowCode.ANSWER_MISSING: "Fill in the answer.",
    RowCode.BAD_ENCODING: "Replace the characters that are shown as \\x.. and save the file as UTF-8.",
    RowCode.NUL_BYTE: "Remove the NUL character; no database text can hold it.",
    RowCode.CELL_TOO_LONG: "Shorten the text or split it into several rows (limit: HELIX_MAX_CELL_CHARS).",
    RowCode.TOO_MANY_FIELDS: "Put texts that contain the column separator in double quotes.",
    RowCode.TOO_FEW_FIELDS: "Add the missing columns; the row ends before its question and answer.",
    RowCode.UNCLOSED_QUOTE: 'Close the double quote of this line, or write it twice ("") where it belongs to the text.',
    RowCode.STRAY_QUOTE: 'Write double quotes inside a quoted text twice: "She said ""hi"" to me".',
    RowCode.INVALID_JSON: "Correct the line so that it is one complete JSON object.",
    RowCode.NOT_A_RECORD: 'Write the record as a JSON object: {"question": "...", "answer": "..."}.',
    RowCode.NOT_A_TEXT: "Question and answer have to be texts; an answer may be a list of texts.",
    RowCode.DUPLICATE_KEY: "Keep one of the values that are given under the same key.",
    RowCode.NON_FINITE_NUMBER: "Replace NaN, Infinity and numbers beyond 1.8e308 by null or a text.",
    RowCode.LONE_SURROGATE: "Replace the half character (\\ud800 to \\udfff without its other half).",
    RowCode.NESTED_TOO_DEEPLY: "Flatten the record (limit: HELIX_MAX_NESTING).",
}


class RefusedRowError(Exception):
    """A record cannot become a pair; carries the `code` and the `reason` that its quarantine entry shows."""

    def __init__(self, code: RowCode, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
