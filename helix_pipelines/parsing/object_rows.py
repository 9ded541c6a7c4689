"""From a JSON object to a row, shared by every reader whose records are objects with keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.columns import columns_seen, map_columns
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.strict_json import texts
from helix_pipelines.resilience.errors import FileRejectedError

SAMPLE_RECORDS = 200
"""Records whose keys together stand for the header that JSON does not have."""
LIST_SEPARATOR = "; "


class ObjectRows:
    """Turns objects into rows.

    Numbers and truth values become their JSON spelling (`42`, `true`), null is a missing text. An answer that is a list of
    such values becomes one text, joined by "; ", and the list itself is kept in `extra` under its key. `mapping` says which
    key plays which role.
    """

    def __init__(self, sample: Sequence[Any], explicit: Mapping[str, str] | None, limits: ParseLimits) -> None:
        self.mapping = _map_keys([value for value in sample if isinstance(value, dict)], explicit, limits)
        self._roles = {key: role for role, key in self.mapping.items()}
        self._limits = limits

    def row(self, number: int, value: Any, size: int) -> ParsedRow:
        """The row of one element, refused or accepted; `size` is the length of its JSON text."""
        if not isinstance(value, dict):
            reason = f"an object was expected, found {_kind(value)}"
            return ParsedRow(number, code=RowCode.NOT_A_RECORD, reason=reason, raw=value)
        try:
            if size > self._limits.cell_chars:
                self._refuse_long_texts(value)
            return self._accepted(number, value)
        except RefusedRowError as refusal:
            return ParsedRow(number, code=refusal.code, reason=refusal.reason, raw=value)

    def _accepted(self, number: int, value: dict[str, Any]) -> ParsedRow:
        row = ParsedRow(number)
        for key, field in value.items():
            role = self._roles.get(key)
            if role is None:
                row.extra[key] = field
                continue
            setattr(row, role, _text_of(role, key, field))
            if isinstance(field, list):
                row.extra[key] = field
        if not row.question or row.question.isspace():
            raise RefusedRowError(RowCode.QUESTION_MISSING, f"{self.mapping['question'][:40]!r} is missing or blank")
        if not row.answer or row.answer.isspace():
            raise RefusedRowError(RowCode.ANSWER_MISSING, f"{self.mapping['answer'][:40]!r} is missing or blank")
        return row

    def _refuse_long_texts(self, value: dict[str, Any]) -> None:
        longest = max(map(len, texts(value)), default=0)
        if longest > self._limits.cell_chars:
            reason = f"a text has {longest:,} characters, {self._limits.cell_chars:,} are allowed"
            raise RefusedRowError(RowCode.CELL_TOO_LONG, reason)


def _text_of(role: str, key: str, field: Any) -> str | None:
    """The text of a field with a role; question and answer are never None."""
    if isinstance(field, str):
        return field
    if field is None:
        return "" if role in {"question", "answer"} else None
    if isinstance(field, list) and (role != "question" or len(field) == 1):
        if any(isinstance(item, list | dict) for item in field):
            raise RefusedRowError(RowCode.NOT_A_TEXT, f"{key[:40]!r} is a list of {_kind(field[0])}s")
        return LIST_SEPARATOR.join(
            item if isinstance(item, str) else json.dumps(item) for item in field if item is not None
        )
    if isinstance(field, list | dict):
        raise RefusedRowError(RowCode.NOT_A_TEXT, f"{key[:40]!r} is {_kind(field)}, not a text")
    return json.dumps(field)


def _map_keys(
    records: Sequence[dict[str, Any]], explicit: Mapping[str, str] | None, limits: ParseLimits
) -> dict[str, str]:
    names = list(dict.fromkeys(key for record in records for key in record))
    if len(names) > limits.columns:
        message = f"The records have {len(names):,} different keys, {limits.columns:,} are allowed (HELIX_MAX_COLUMNS)."
        raise FileRejectedError("TOO_MANY_COLUMNS", message)
    try:
        return {role: names[at] for role, at in map_columns(names, explicit).items()}
    except FileRejectedError as error:
        nested = [name for name in names if any(_holds_objects(record.get(name)) for record in records)]
        if error.code == "COLUMNS_NOT_FOUND" and nested:
            raise FileRejectedError(
                "UNSUPPORTED_LAYOUT",
                f"Question and answer are not at the top of the records but inside of them. {columns_seen(names)} "
                f"Nested: {columns_seen(nested)} Export a flat list of objects, one for each question and answer.",
            ) from error
        raise


def _holds_objects(field: Any) -> bool:
    return isinstance(field, dict) or (isinstance(field, list) and any(isinstance(item, dict | list) for item in field))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
