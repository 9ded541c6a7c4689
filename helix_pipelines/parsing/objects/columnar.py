"""JSON written column by column, as pandas does by default: it is turned into records before anything else looks at it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from helix_pipelines.parsing.columns import map_columns
from helix_pipelines.parsing.objects.json_elements import Path
from helix_pipelines.resilience.errors import FileRejectedError

COLUMNAR_CHARS = 16 * 1024**2
"""Columns have to be held whole; as Python values they take about eight times their size."""
_FIRST_MEMBER = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*(?:\[|\{\s*"(?:[^"\\]|\\.)*"\s*:)\s*[^\s\[{]')
"""A list or an object of scalars; in documents that wrap records it is a scalar or a list of objects."""


def may_be_columnar(start: str) -> bool:
    """Whether a document that begins so may be one of columns."""
    return _FIRST_MEMBER.match(start) is not None


def columnar_records(value: Any, explicit: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """The records of a document in one of the columnar forms, None for any other.

    Question and answer are lists of the same length, of at least two (`{"question": [...], "answer": [...]}`, a record with
    lists has one question), or objects with the same keys (`{"question": {"0": ...}, "answer": {"0": ...}}`), or the rows are
    lists below the names of their columns (`{"columns": [...], "data": [[...]]}`).
    """
    if not isinstance(value, dict):
        return None
    names, rows = value.get("columns"), value.get("data")
    if isinstance(names, list) and _are_texts(names) and isinstance(rows, list) and rows and _roles(names, explicit):
        fit = all(isinstance(row, list) and len(row) == len(names) for row in rows)
        return [dict(zip(names, row, strict=True)) for row in rows] if fit else None
    roles = _roles(list(value), explicit)
    if roles is None:
        return None
    question, answer = (list(value.values())[roles[role]] for role in ("question", "answer"))
    if isinstance(question, list) and isinstance(answer, list) and 1 < len(question) == len(answer):
        lists = {
            name: field for name, field in value.items() if isinstance(field, list) and len(field) == len(question)
        }
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if isinstance(question, dict) and isinstance(answer, dict) and question and question.keys() == answer.keys():
        columns = {name: field for name, field in value.items() if isinstance(field, dict)}
        return [{name: field.get(key) for name, field in columns.items()} for key in question]
    return None


class ColumnarElements:
    """The records as units, as `JsonElements` gives those of an array."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.context: dict[Path, dict[str, Any]] = {}
        self._records = records

    def __iter__(self) -> Iterator[tuple[Path, Any, str]]:
        for record in self._records:
            yield (), record, json.dumps(record, ensure_ascii=False)


def _roles(names: list[str], explicit: Mapping[str, str]) -> dict[str, int] | None:
    try:
        return map_columns(names, explicit)
    except FileRejectedError:
        return None  # whoever looks at the document next says what it lacks


def _are_texts(names: list[Any]) -> bool:
    return bool(names) and all(isinstance(name, str) for name in names)
