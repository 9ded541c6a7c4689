"""Why a record or a file is refused: the closed lists of codes, each with a line for people."""

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


FILE_CODES = {
    "FILE_MISSING": "The file is not there any more, or is a folder.",
    "FILE_UNREADABLE": "The account that runs Helix may not read the file, or its path cannot be followed.",
    "FILE_CHANGED": "The file was still being written while it was taken.",
    "FILE_TOO_LARGE": "It is larger than HELIX_MAX_FILE_BYTES.",
    "EMPTY_FILE": "There is nothing in it: no bytes, no header, no records, no filled cells.",
    "NO_RECORDS": "It has a header and nothing below.",
    "UNSUPPORTED_FORMAT": "It is something that Helix does not read; the message says what it looks like.",
    "BINARY_CONTENT": "It is an image, a program or other data that is no text.",
    "ENCRYPTED_FILE": "It is protected by a password.",
    "ENCODING_UNKNOWN": "The encoding that was given, or any that was tried, does not fit its bytes.",
    "COMPRESSION_DAMAGED": "The gzip file is damaged or was cut off.",
    "EXPANDED_TOO_LARGE": "Unpacked it is larger than HELIX_MAX_EXPANDED_BYTES or HELIX_MAX_WORKBOOK_BYTES.",
    "EXPANSION_RATIO": "It unpacks to more than HELIX_MAX_EXPANSION_RATIO times its size, as bombs do.",
    "DAMAGED_ARCHIVE": "The zip container is damaged, was cut off, or its members overlap.",
    "EMPTY_ARCHIVE": "There are no files in it but folders, links and what operating systems leave behind.",
    "ARCHIVE_IN_ARCHIVE": "A file of an archive is an archive itself.",
    "TOO_MANY_MEMBERS": "The archive has more than HELIX_MAX_ARCHIVE_MEMBERS files.",
    "COLUMNS_NOT_FOUND": "No columns for question and answer were recognised; the message lists those seen.",
    "MAPPING_COLUMN_MISSING": "A column that --map or helix.toml names is not in the file.",
    "HEADER_UNREADABLE": "The header line has a torn quote.",
    "TOO_MANY_COLUMNS": "It has more than HELIX_MAX_COLUMNS columns or different keys.",
    "TOO_MANY_ROWS": "It has more than HELIX_MAX_ROWS records.",
    "RECORD_TOO_LONG": "A record is longer than eight cells of HELIX_MAX_CELL_CHARS, or is never closed.",
    "INVALID_JSON": "It is not valid JSON from some place on, which the message names.",
    "INVALID_YAML": "It is not valid YAML; the message names the line.",
    "NESTED_TOO_DEEPLY": "Values or elements are nested deeper than HELIX_MAX_NESTING (pages: 512 elements).",
    "TOO_MANY_ALIASES": "The YAML file repeats parts of itself more than HELIX_MAX_ALIASES times, or grows too large by it.",
    "UNSUPPORTED_LAYOUT": "Its records are arranged in a way in which question and answer cannot be found.",
    "DOCUMENT_TOO_LARGE": "A text that has to be held whole is larger than HELIX_MAX_DOCUMENT_BYTES (Markdown: 16 MB).",
    "HTML_UNREADABLE": "The page cannot be parsed, or would multiply in the parser.",
    "QUESTIONS_NOT_FOUND": "No questions with answers were found in the page or document.",
    "DAMAGED_WORKBOOK": "The workbook is damaged or was cut off.",
    "XML_ENTITIES": "The workbook declares XML entities, which no office program writes.",
    "SHEET_NOT_FOUND": "A sheet that was asked for is not in the workbook; the message lists those that are.",
    "TOO_MANY_SHEETS": "The workbook has more than HELIX_MAX_SHEETS sheets.",
    "TOO_MANY_CELLS": "A sheet spans more cells than fit into HELIX_READER_MEMORY, though most may be empty.",
    "DAMAGED_PARQUET": "The Parquet file is damaged or was cut off.",
    "ROW_GROUP_TOO_LARGE": "A row group of the Parquet file does not fit into HELIX_READER_MEMORY.",
    "READING_TIMED_OUT": "Reading took longer than HELIX_READER_TIMEOUT or HELIX_MAX_FILE_SECONDS.",
    "READER_OUT_OF_MEMORY": "Reading needed more than HELIX_READER_MEMORY.",
    "READER_CRASHED": "The file made its reader crash; the reader is a process of its own and nothing else was harmed.",
    "READER_FAILED": "The file made its reader fail in a way that is not foreseen; worth a report.",
    "CORRECTIONS_MISPLACED": "It holds corrections, which come in by `helix quarantine replay` alone.",
    "CORRECTIONS_UNREADABLE": "A file of corrections was changed by hand.",
    "SYNC_DROP_LIMIT": "In sync mode more rows would be closed than the batch's drop limit allows; nothing was changed.",
}
"""Why a file as a whole is rejected: the closed list of codes, with what is wrong. The message of a rejection says what to do."""


class RefusedRowError(Exception):
    """A record cannot become a pair; carries the `code` and the `reason` that its quarantine entry shows."""

    def __init__(self, code: RowCode, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
