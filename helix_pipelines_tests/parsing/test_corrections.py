from __future__ import annotations

import json
from typing import Any

import pytest

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

FIRST = '{"helix_corrections":1,"import":42}'
ROW = {"row": 17, "sheet": "FAQ", "question": "How?", "answer": "So.", "external_id": "a", "extra": {"team": [1]}}


def lines(*records: Any, first: str = FIRST) -> str:
    return "\n".join([first, *(json.dumps(record) for record in records)]) + "\n"


def test_corrections_are_told_by_their_first_line_and_keep_their_places() -> None:
    found = read(lines(ROW, {"row": 3, "question": "Why?", "answer": "Because."}))
    assert found.sniffed.format == "corrections"
    first, second = found.rows
    assert (first.row_number, first.sheet, first.question, first.answer) == (17, "FAQ", "How?", "So.")
    assert (first.external_id, first.category, first.extra) == ("a", None, {"team": [1]})
    assert (second.row_number, second.sheet) == (3, None)


def test_rows_that_were_read_are_skipped() -> None:
    content = lines(*({**ROW, "row": number} for number in range(1, 6)))
    assert [row.row_number for row in read(content, skip=2).rows] == [3, 4, 5]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"answer": " "}, "ANSWER_MISSING"),
        ({"question": None}, "QUESTION_MISSING"),
        ({"answer": ["a"]}, "NOT_A_TEXT"),
        ({"url": 5}, "NOT_A_TEXT"),
        ({"answer": "x" * 101}, "CELL_TOO_LONG"),
    ],
)
def test_a_row_that_is_still_faulty_is_refused_under_its_number(change: dict[str, Any], code: str) -> None:
    found = read(lines({**ROW, **change}, ROW), limits=ParseLimits(cell_chars=100))
    assert found.refused == [(17, code)]
    assert found.rows[0].raw == {**ROW, **change}
    assert found.rows[0].sheet == "FAQ"


@pytest.mark.parametrize(
    "content",
    [
        lines(ROW, first='{"helix_corrections":2,"import":42}'),
        lines(ROW, first='{"helix_corrections":1,"import":"x"}'),
        lines({**ROW, "row": 0}),
        lines({**ROW, "row": "17"}),
        lines({**ROW, "row": True}),
        lines({**ROW, "sheet": 5}),
        lines([1]),
        lines() + "{broken\n",
        lines() + '{"row": 1, "row": 2}\n',
    ],
)
def test_a_line_that_names_no_row_refuses_the_file(content: str) -> None:
    with pytest.raises(FileRejectedError) as refused:
        read(content)
    assert refused.value.code == "CORRECTIONS_UNREADABLE"
    assert "helix quarantine replay" in refused.value.message
