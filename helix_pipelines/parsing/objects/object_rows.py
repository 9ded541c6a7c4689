"""From a JSON object to a row, shared by every reader whose records are objects with keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.columns import columns_seen, map_columns
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.field_texts import kind_of, role_text
from helix_pipelines.parsing.objects.strict_json import texts
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError

UNANSWERABLE_MARKS = ("is_impossible", "is_unanswerable", "unanswerable")
"""How SQuAD 2.0 and its relatives say that the text which a question belongs to does not answer it."""
SAMPLE_RECORDS = 200
"""Records whose keys together stand for the header that JSON does not have."""


class ObjectRows:
    """Turns objects into rows; `field_texts` says how a field becomes a text. `mapping` says which key plays which role.

    A field that is more than its text (a list of answers, of phrasings) is kept in `extra` under its key.
    """

    def __init__(self, sample: Sequence[Any], explicit: Mapping[str, str] | None, limits: ParseLimits) -> None:
        self.mapping = _map_keys([value for value in sample if isinstance(value, dict)], explicit, limits)
        self._roles = {key: role for role, key in self.mapping.items()}
        self._limits = limits

    def row(self, number: int, value: Any, size: int) -> ParsedRow:
        """The row of one element, refused or accepted; `size` is the length of its JSON text."""
        if not isinstance(value, dict):
            reason = f"an object was expected, found {kind_of(value)}"
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
            if field.__class__ is str:
                setattr(row, role, field)
                continue
            setattr(row, role, role_text(role, key, field))
            if isinstance(field, list | dict):
                row.extra[key] = field
        if not row.question or row.question.isspace():
            raise RefusedRowError(RowCode.QUESTION_MISSING, f"{self.mapping['question'][:40]!r} is missing or blank")
        if not row.answer or row.answer.isspace():
            raise RefusedRowError(RowCode.ANSWER_MISSING, self._why_unanswered(value))
        return row

    def _why_unanswered(self, value: dict[str, Any]) -> str:
        name = self.mapping["answer"]
        state = "is an empty list" if value.get(name) == [] else "is missing or blank"
        mark = next((key for key in UNANSWERABLE_MARKS if str(value.get(key)).lower() == "true"), None)
        return f"{name[:40]!r} {state}" + (f": the question is marked as not answerable ({mark})" if mark else "")

    def _refuse_long_texts(self, value: dict[str, Any]) -> None:
        longest = max(map(len, texts(value)), default=0)
        if longest > self._limits.cell_chars:
            reason = f"a text has {longest:,} characters, {self._limits.cell_chars:,} are allowed"
            raise RefusedRowError(RowCode.CELL_TOO_LONG, reason)


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
