"""A quarantined row as a line of a table: which columns there are, and what stands in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError
from helix_pipelines.parsing.columns import REQUIRED_ROLES, folded, map_columns
from helix_pipelines.parsing.objects.field_texts import role_text
from helix_pipelines.quarantine.hints import hint
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.storage.quarantine import Line, Place

PLACE_COLUMNS = ("helix_import", "helix_file", "helix_sheet", "helix_row", "helix_code", "helix_reason", "helix_hint")
ROLE_COLUMNS = {
    "question": "question",
    "answer": "answer",
    "external_id": "id",
    "category": "category",
    "url": "url",
}
"""Role -> its column; the same in every export, whatever the file calls it."""
RAW_COLUMN = "helix_raw"
FIELD_MARK = "field:"
"""Stands before the name of a field that is called like one of the columns above."""
LONGEST_NAME = 200
FIELD_COLUMNS = 200
"""Fields with a column of their own, the most frequent ones: no person corrects a table that is wider."""

_TAKEN = frozenset(folded(name) for name in (*PLACE_COLUMNS, *ROLE_COLUMNS.values(), RAW_COLUMN))


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that was refused, in the form in which it can be corrected.

    `texts` has the text of every role that it has, `fields` the other fields by name as JSON values, `raw_text` the record
    where it could not be cut into fields. `lists` are fields with a role that the file gave as a list or an object.
    """

    line: Line
    texts: Mapping[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, Any] = field(default_factory=dict)
    raw_text: str = ""

    @classmethod
    def of(cls, line: Line) -> QuarantinedRow:
        """From a line of `list_quarantine`."""
        raw = line["raw"]
        if line["stage"] == "embedding":
            return cls(line, {role: line[role] or "" for role in ROLE_COLUMNS}, line["extra"] or {})
        if not isinstance(raw, dict):
            return cls(line, {}, raw_text=_text(raw))
        if (
            line["import"] != line["root"]
        ):  # a correction that was refused in its turn: its texts stand under their roles
            return cls(line, {role: _text(raw.get(role)) for role in ROLE_COLUMNS}, raw.get("extra") or {})
        roles = _roles(raw, line["columns"] or {})
        return cls(
            line,
            {role: _role_text(role, name, raw[name]) for role, name in roles.items()},
            {name: value for name, value in raw.items() if name not in roles.values()},
            {name: raw[name] for name in roles.values() if isinstance(raw[name], list | dict)},
        )

    @property
    def place(self) -> Place:
        """What the row is known by."""
        return Place(self.line["root"], self.line["sheet"] or "", self.line["row"])

    def cells(self, names: Iterable[str]) -> list[str]:
        """The texts of its columns, in the order of `header`."""
        line = self.line
        place = (str(line["root"]), line["path"], line["sheet"] or "", str(line["row"]))
        reason = (line["code"] or "", line["message"] or "", hint(line["code"] or ""))
        texts = (self.texts.get(role, "") for role in ROLE_COLUMNS)
        return [*place, *reason, *texts, *(_text(self.fields.get(name)) for name in names), self.raw_text]

    def written(self) -> dict[str, str]:
        """Column -> text, for every column that a correction may change."""
        texts = {column: self.texts.get(role, "") for role, column in ROLE_COLUMNS.items()}
        return texts | {
            column: _text(value) for name, value in self.fields.items() if (column := column_of(name)) is not None
        }


def header(names: Iterable[str]) -> list[str]:
    """The columns of a table with a column for each of these fields."""
    return [*PLACE_COLUMNS, *ROLE_COLUMNS.values(), *(column_of(name) or "" for name in names), RAW_COLUMN]


def column_of(name: str) -> str | None:
    """The column of a field; None where no header line can hold its name as it is."""
    if not name.isprintable() or name != name.strip() or not name or len(name) > LONGEST_NAME:
        return None
    return FIELD_MARK + name if folded(name) in _TAKEN or name.startswith(("helix_", FIELD_MARK)) else name


def field_of(column: str) -> str:
    """The field that a column stands for."""
    return column.removeprefix(FIELD_MARK)


def _roles(raw: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """Role -> field of the record: as the import mapped its columns, else by their names (sheets may have other headers)."""
    known = {role: name for role, name in columns.items() if name in raw and role in ROLE_COLUMNS}
    if all(role in known for role in REQUIRED_ROLES):
        return known
    names = list(raw)
    try:
        return {role: names[at] for role, at in map_columns(names, known).items()}
    except FileRejectedError:
        return known  # the other fields keep their own columns


def _role_text(role: str, name: str, value: Any) -> str:
    """The text that the readers make of a value; what is none for them is shown as JSON."""
    try:
        return role_text(role, name, value) or ""
    except RefusedRowError:
        return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
