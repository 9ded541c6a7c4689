"""JSON as data frames are written, column by column."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines_tests.parsing.reading import read

COLUMNS: dict[str, list[Any]] = {
    "id": [7, 8, 9],
    "question": ["How?", "Wo?", "どこ?"],
    "answer": ["So.", "Hier.", None],
    "note": ["x", None, "y"],
}
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
ORIENTED = {
    "columns": {name: {str(at): field for at, field in enumerate(column)} for name, column in COLUMNS.items()},
    "split": {"columns": list(COLUMNS), "index": [0, 1, 2], "data": [list(record.values()) for record in RECORDS]},
    "records": RECORDS,
    "index": {str(at): record for at, record in enumerate(RECORDS)},
    "table": {"schema": {"fields": [{"name": name, "type": "string"} for name in COLUMNS]}, "data": RECORDS},
    "list": COLUMNS,
}
"""The forms of pandas's `DataFrame.to_json` and `to_dict`, by their names there."""


@pytest.mark.parametrize("document", ORIENTED.values(), ids=list(ORIENTED))
def test_a_data_frame_is_read_however_it_was_written(document: Any) -> None:
    found = read(json.dumps(document, ensure_ascii=False))
    assert found.pairs == [("How?", "So."), ("Wo?", "Hier.")]
    assert found.refused == [(3, RowCode.ANSWER_MISSING)]
    assert found.rows[0].external_id == "7"
    assert found.rows[0].extra["note"] == "x"


def test_columns_can_be_named() -> None:
    found = read('{"ask": ["a?", "b?"], "reply": ["x", "y"]}', {"question": "ask", "answer": "reply"})
    assert found.pairs == [("a?", "x"), ("b?", "y")]


@pytest.mark.parametrize(
    ("document", "pairs"),
    [
        ({"question": ["How?"], "answer": ["So.", "Or so."]}, [("How?", "So.; Or so.")]),
        ({"question": "How?", "answer": ["So.", "Or so."]}, [("How?", "So.; Or so.")]),
        ({"tags": ["x"], "items": [{"question": "How?", "answer": "So."}]}, [("How?", "So.")]),
    ],
)
def test_a_record_with_lists_is_no_table(document: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
    assert read(json.dumps(document)).pairs == pairs


def test_flawed_columns_are_refused_as_what_they_are() -> None:
    found = read('{"question": ["a?", "b?"], "answer": ["x", "\\ud800"]}')
    assert found.pairs == []
    assert [code for _, code in found.refused] == [RowCode.LONE_SURROGATE]
