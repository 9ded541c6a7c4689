from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

GOOD = '{"question": "q", "answer": "a"}\n'
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=20), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(pairs: list[tuple[str, str]], as_ascii: bool, ending: str) -> None:
    lines = [json.dumps({"question": question, "answer": answer}, ensure_ascii=as_ascii) for question, answer in pairs]
    found = read(ending.join(lines))
    assert (found.sniffed.format, found.pairs) == ("jsonl", pairs)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"question": "q", "answer": ""}', RowCode.ANSWER_MISSING),
        ('{"answer": "a"}', RowCode.QUESTION_MISSING),
        ('{"question": null, "answer": "a"}', RowCode.QUESTION_MISSING),
        ('{"question": "q", "answer"', RowCode.INVALID_JSON),
        ('{"question": "q", "answer": "a"} x', RowCode.INVALID_JSON),
        ('["q", "a"]', RowCode.NOT_A_RECORD),
        ("42", RowCode.NOT_A_RECORD),
        ('{"question": "q", "answer": {"page": "a"}}', RowCode.NOT_A_TEXT),
        ('{"question": [["q"], "p"], "answer": "a"}', RowCode.NOT_A_TEXT),
        ('{"question": "q", "answer": []}', RowCode.ANSWER_MISSING),
        ('{"question": "q", "answer": [["a"]]}', RowCode.NOT_A_TEXT),
        ('{"question": "q", "question": "p", "answer": "a"}', RowCode.DUPLICATE_KEY),
        ('{"question": "q", "answer": "a", "score": NaN}', RowCode.NON_FINITE_NUMBER),
        ('{"question": "q", "answer": "a", "score": -1e999}', RowCode.NON_FINITE_NUMBER),
        ('{"question": "q", "answer": "a\\u0000"}', RowCode.NUL_BYTE),
        ('{"question": "\\ud800", "answer": "a"}', RowCode.LONE_SURROGATE),
        ('{"question": "q", "answer": "a", "x": ' + "[" * 101 + "]" * 101 + "}", RowCode.NESTED_TOO_DEEPLY),
        ('{"question": "q", "answer": ' + "[" * 50_000, RowCode.NESTED_TOO_DEEPLY),
        ('{"question": "q", "answer": "' + "x" * 301 + '"}', RowCode.CELL_TOO_LONG),
        ('{"question": "q", "answer": "' + "x" * 100_000, RowCode.CELL_TOO_LONG),
    ],
)
def test_a_bad_line_is_refused_with_its_number_between_good_ones(line: str, code: RowCode) -> None:
    limits = ParseLimits() if code is RowCode.NESTED_TOO_DEEPLY else ParseLimits(cell_chars=300)
    found = read(GOOD + "\n" + line + "\n" + GOOD, limits=limits)
    assert found.pairs == [("q", "a")] * 2
    assert found.refused == [(3, code)]


def test_an_undecodable_line_is_refused_and_shown() -> None:
    found = read(GOOD.encode() * 20 + b'{"question": "caf\xe9", "answer": "a"}\n')
    assert found.refused == [(21, RowCode.BAD_ENCODING)]
    assert found.rows[20].raw == '{"question": "caf\\xe9", "answer": "a"}'


def test_a_list_of_answers_is_joined_and_kept_as_metadata() -> None:
    (row, _) = read('{"question": "q", "answer": ["a", 2, null]}\n' + GOOD).rows
    assert row.answer == "a; 2"
    assert row.extra == {"answer": ["a", 2, None]}


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ('{"text": ["a", "b"], "answer_start": [1, 2]}', "a"),
        ('[{"text": " ", "answer_start": 1}, {"text": "a"}]', "a"),
        ('[{"score": 1, "body": "a"}]', "a"),
        ('{"value": "a"}', "a"),
    ],
)
def test_of_annotated_answers_the_first_text_counts_and_all_are_kept(answers: str, text: str) -> None:
    (row, _) = read(f'{{"question": "q", "answers": {answers}}}\n' + GOOD.replace("answer", "answers")).rows
    assert (row.answer, row.extra) == (text, {"answers": json.loads(answers)})


def test_of_several_phrasings_the_first_is_the_question_and_all_are_kept() -> None:
    (row, _) = read('{"q": ["p", "r"], "a": "b"}\n' + GOOD.replace("question", "q").replace("answer", "a")).rows
    assert (row.question, row.extra) == ("p", {"q": ["p", "r"]})


def test_numbers_and_truth_values_become_texts_and_long_integers_keep_their_digits() -> None:
    (row, _) = read('{"question": 42, "answer": true, "id": 12345678901234567890}\n' + GOOD).rows
    assert (row.question, row.answer, row.external_id) == ("42", "true", "12345678901234567890")


def test_line_separators_inside_a_text_do_not_end_the_line() -> None:
    text = "a\u2028b\u2029c\x85d"
    line = json.dumps({"question": text, "answer": text}, ensure_ascii=False)
    assert read(line + "\n" + GOOD).pairs[0] == (text, text)


def test_lines_without_any_object_are_rejected() -> None:
    with pytest.raises(FileRejectedError, match="UNSUPPORTED_LAYOUT"):
        read('["q", "a"]\n["q", "a"]\n')


def test_nested_records_are_rejected_with_what_was_seen() -> None:
    with pytest.raises(FileRejectedError, match=r"UNSUPPORTED_LAYOUT.*paragraphs"):
        read('{"title": "t", "paragraphs": [{"qas": []}]}\n' * 2)


def test_resuming_counts_records_and_keeps_line_numbers() -> None:
    found = read(GOOD + "\n" + GOOD + GOOD, skip=2)
    assert [row.row_number for row in found.rows] == [4]
