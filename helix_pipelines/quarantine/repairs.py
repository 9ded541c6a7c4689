"""What a person did to one quarantined row: nothing, not enough, or a correction that can be imported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.columns import REQUIRED_ROLES
from helix_pipelines.quarantine.cells import is_cut, is_unchanged, restored
from helix_pipelines.quarantine.rows import PLACE_COLUMNS, RAW_COLUMN, ROLE_COLUMNS, QuarantinedRow, field_of
from helix_pipelines.quarantine.worksheets import WorksheetRow

NOT_CORRECTED = frozenset({*PLACE_COLUMNS, RAW_COLUMN})
"""Columns that say which row it is and why it was refused."""
CUT = "CELL_CUT"
"""Code of a row with the beginning of a text where the whole one is needed."""
_BLANK = {"question": RowCode.QUESTION_MISSING, "answer": RowCode.ANSWER_MISSING}
_ESCAPED_CODES = frozenset({RowCode.BAD_ENCODING, RowCode.NUL_BYTE, RowCode.LONE_SURROGATE})
_ESCAPE = re.compile(r"\\x[0-9a-f]{2}|\\u(?:0000|d[89a-f][0-9a-f]{2})")
"""How an export shows what is no character."""
_BEYOND = re.compile(r"field \d+")
"""The name of a field beyond the header's columns."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nobody worked on the row."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """The row was changed and would be refused again; `code` and `reason` say why."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Correction:
    """The row as it is to be imported: texts by role, and the other fields as JSON values."""

    texts: Mapping[str, str]
    extra: Mapping[str, Any]


def judge(row: QuarantinedRow, corrected: WorksheetRow, columns: Collection[str]) -> Unchanged | Faulty | Correction:
    """Compare a row with its line of the corrected table, cell by cell; `columns` are those of the table that are not empty.

    A cell that is as the export wrote it leaves the text as it was, also where it could only show its beginning; so does a
    column that is empty from top to bottom, as if it had been deleted.
    """
    before = row.written()
    changed = _changed_cells(row, before, corrected, columns)
    if not changed:
        return Unchanged()
    if corrected.flaw is not None:
        return Faulty(*corrected.flaw)
    for name, cell in changed.items():
        if is_cut(cell, before.get(name, "")):
            return Faulty(CUT, f"{name!r} ends where a table cut it: write the whole text, or leave the cell as it was")
    correction = _merged(row, changed)
    return _remaining_flaw(row, before, changed, correction) or correction


def _changed_cells(
    row: QuarantinedRow, before: Mapping[str, str], corrected: WorksheetRow, columns: Collection[str]
) -> dict[str, str]:
    emptied = {name: "" for name in before if name in columns or _is_beyond(row, name)}
    cells = {name: cell for name, cell in corrected.cells.items() if name not in NOT_CORRECTED}
    return {name: cell for name, cell in (emptied | cells).items() if not is_unchanged(cell, before.get(name, ""))}


def _is_beyond(row: QuarantinedRow, name: str) -> bool:
    """Whether a field stands beyond the header's columns, from where its text has to be moved."""
    return row.line["code"] == RowCode.TOO_MANY_FIELDS and _BEYOND.fullmatch(name) is not None


def _merged(row: QuarantinedRow, changed: Mapping[str, str]) -> Correction:
    """The row with its changed cells; all other values stay what they were, to the type."""
    roles = {column: role for role, column in ROLE_COLUMNS.items()}
    texts = {role: text for role, text in row.texts.items() if text}
    extra = {name: value for name, value in (row.fields | row.lists).items() if value not in (None, "")}
    for column, cell in changed.items():
        text = restored(cell)
        if column in roles:
            texts[roles[column]] = text
        elif text:
            extra[field_of(column)] = text
        else:
            extra.pop(field_of(column), None)
    if "answer" in changed:
        extra = {name: value for name, value in extra.items() if name not in row.lists}
    return Correction(texts, extra)


def _remaining_flaw(
    row: QuarantinedRow, before: Mapping[str, str], changed: Mapping[str, str], correction: Correction
) -> Faulty | None:
    """What is still wrong with a changed row, as far as its own reader will not see it any more."""
    code = row.line["code"]
    kept = {name: text for name, text in before.items() if name not in changed}
    for role in REQUIRED_ROLES:
        if not correction.texts.get(role, "").strip():
            return Faulty(_BLANK[role], f"{role!r} is blank")
    if code in _ESCAPED_CODES and (name := _first(kept, _ESCAPE)):
        return Faulty(code, f"{name!r} still shows characters as \\x..")
    if code == RowCode.CELL_TOO_LONG and (name := next((name for name, text in kept.items() if is_cut(text)), None)):
        return Faulty(code, f"{name!r} is only the beginning of the text")
    if any(_is_beyond(row, name) for name in correction.extra):
        return Faulty(code, "there is still text beyond the columns: move it to where it belongs")
    return None


def _first(texts: Mapping[str, str], pattern: re.Pattern[str]) -> str | None:
    return next((name for name, text in texts.items() if pattern.search(text)), None)
