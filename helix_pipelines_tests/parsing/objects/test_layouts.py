"""Layouts of JSON; those of YAML are the same, see `test_yaml_documents`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import NoteCode
from helix_pipelines.parsing.objects.question_forms import reads_as_question
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import Read, read

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).filter(str.strip)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)
SMALL = ParseLimits(cell_chars=1_000)
"""Limits with which objects are opened that are held whole by default."""


def records(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question, answer in pairs]


def squad(pairs: list[tuple[str, str]]) -> Any:
    qas = [
        {"id": f"i{at}", "question": q, "answers": [{"text": a, "answer_start": 0}]} for at, (q, a) in enumerate(pairs)
    ]
    halves = qas[: len(qas) // 2], qas[len(qas) // 2 :]
    return {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": half}]} for half in halves],
    }


LAYOUTS: dict[str, Callable[[list[tuple[str, str]]], Any]] = {
    "flat": records,
    "squad": squad,
    "cmrc": lambda pairs: [{"context_id": "c", "qas": [{"query_text": q, "answers": [a]} for q, a in pairs]}],
    "wrapped": lambda pairs: {"qna": [{"qid": str(at), "q": [q], "a": a} for at, (q, a) in enumerate(pairs)]},
    "wrapped twice": lambda pairs: {"status": "ok", "data": {"page": 1, "items": records(pairs)}},
    "keyed": lambda pairs: {f"id{at}": record for at, record in enumerate(records(pairs))},
    "keyed inside": lambda pairs: {"faq": {"en": {f"id{at}": record for at, record in enumerate(records(pairs))}}},
    "lists": lambda pairs: {"categories": ["x"], "conversations": [list(pair) for pair in pairs]},
    "bare lists": lambda pairs: [list(pair) for pair in pairs],
    "table": lambda pairs: [["Question", "Answer"], *map(list, pairs)],
    "groups": lambda pairs: [{"category": "x", "items": [record]} for record in records(pairs)],
    "parts": lambda pairs: {"en": records(pairs[:1]), "de": records(pairs[1:])},
}


@settings(max_examples=12, deadline=None)
@given(PAIRS, st.sampled_from([None, 1]), st.sampled_from([ParseLimits(), SMALL]))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_its_pairs_in_order(
    layout: str, pairs: list[tuple[str, str]], indent: int | None, limits: ParseLimits
) -> None:
    if layout in {"table", "bare lists", "lists"}:
        pairs = [("xx" + question, "xx" + answer) for question, answer in pairs]  # no pair that is a header of columns
    found = read(json.dumps(LAYOUTS[layout](pairs), indent=indent), limits=limits)
    assert (found.pairs, found.refused) == (pairs, [])
    assert [row.row_number for row in found.rows] == list(range(1, len(pairs) + 1))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(TEXT.map(lambda text: text + "?"), TEXT), min_size=1, unique_by=lambda pair: pair[0]))
def test_a_map_of_questions_gives_its_members_whole_or_opened(pairs: list[tuple[str, str]]) -> None:
    for value in (dict(pairs), {"faq": {"general": dict(pairs)}}):
        for limits in (ParseLimits(), SMALL):
            found = read(json.dumps(value), limits=limits)
            assert found.pairs == pairs
            assert all(row.extra == {} for row in found.rows)


@settings(max_examples=30, deadline=None)
@given(PAIRS, st.integers(0, 12), st.sampled_from(sorted(set(LAYOUTS) - {"table"})))
def test_skipping_leaves_out_records_and_keeps_the_numbers_of_the_others(
    pairs: list[tuple[str, str]], skip: int, layout: str
) -> None:
    content = json.dumps(LAYOUTS[layout](pairs))
    assert read(content, skip=skip, limits=SMALL).rows == read(content, limits=SMALL).rows[skip:]


def test_what_is_opened_gives_the_rows_of_what_is_held_whole() -> None:
    content = json.dumps({"title": "t", **LAYOUTS["parts"]([(f"q{at}", "a") for at in range(200)]), "language": "x"})
    assert read(content, limits=SMALL).rows == read(content).rows
    assert read(content).rows[0].extra == {"title": "t", "language": "x", "part": "en"}


def only(found: Read) -> Any:
    (row,) = found.rows
    return row


def test_fields_above_are_handed_down_but_never_as_identity_or_instead_of_own_ones() -> None:
    item = {"question": "q", "answer": "a", "lang": "de"}
    value = {"id": "file", "data": [{"category": "c", "lang": "en", "url": "u", "tags": ["x"], "items": [item]}]}
    row = only(read(json.dumps(value)))
    assert (row.category, row.url, row.external_id) == ("c", "u", None)
    assert row.extra == {"lang": "de", "parent.lang": "en", "parent.id": "file", "tags": ["x"]}


def test_an_unanswerable_question_is_refused_with_the_reason() -> None:
    value = squad([("q", "a"), ("p", "b")])
    value["data"][1]["paragraphs"][0]["qas"].append({"question": "r", "answers": [], "is_impossible": True, "id": "x"})
    found = read(json.dumps(value))
    assert found.pairs == [("q", "a"), ("p", "b")]
    assert found.refused == [(3, RowCode.ANSWER_MISSING)]
    assert "not answerable (is_impossible)" in (found.rows[2].reason or "")


def test_the_key_of_a_record_is_its_identity_unless_it_has_one() -> None:
    assert only(read('{"k1": {"question": "q", "answer": "a"}}')).external_id == "k1"
    row = only(read('{"k1": {"id": 7, "question": "q", "answer": "a"}}'))
    assert (row.external_id, row.extra) == ("7", {"key": "k1"})


def test_equal_keys_in_several_parts_are_different_identities() -> None:
    record = {"k": {"question": "q", "answer": "a"}}
    assert [row.external_id for row in read(json.dumps({"en": record, "de": record})).rows] == ["en.k", "de.k"]


def test_a_conversation_whose_list_was_forgotten_is_told_apart_and_kept_as_it_was_written() -> None:
    found = read("conversations:\n- - Who?\n  - He.\n- What number is \"two ducks\"?\n  - '22'\n- No question\n")
    assert found.pairs == [("Who?", "He."), ('What number is "two ducks"?', "22")]
    assert found.rows[1].extra["as written"] == "What number is \"two ducks\"? - '22'"
    assert found.refused == [(3, "ANSWER_MISSING")]


def test_of_a_longer_conversation_the_rest_is_kept_and_one_turn_alone_is_refused() -> None:
    found = read('{"conversations": [["Hi", "Hello", "b", "c"], ["Hi"], "Hi", ["Hi", "Hello"]]}')
    assert found.pairs == [("Hi", "Hello")] * 2
    assert found.rows[0].extra == {"more": ["b", "c"]}
    assert found.refused == [(2, RowCode.ANSWER_MISSING), (3, RowCode.ANSWER_MISSING)]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("ask", "reply"),
        ("data.items.ask", "data.items.reply"),
        ("data[].items[].ask", "$.data[].items[].reply"),
        ("items.ask", "items.reply"),
        ("items.ask", "items.detail.text"),
    ],
)
def test_a_mapping_names_keys_or_the_way_to_them(question: str, answer: str) -> None:
    item = {"ask": "q", "reply": "a", "detail": [{"text": "a"}], "question": "no"}
    value = {"data": [{"topic": "t", "items": [item, item]}]}
    found = read(json.dumps(value), mapping={"question": question, "answer": answer, "category": "data.topic"})
    assert found.pairs == [("q", "a")] * 2
    assert found.rows[0].category == "t"


def test_a_mapping_that_names_nothing_is_rejected_with_the_keys_seen() -> None:
    with pytest.raises(FileRejectedError, match=r"(MAPPING_COLUMN_MISSING|UNSUPPORTED_LAYOUT).*question, answer"):
        read('[{"question": "q", "answer": "a"}]', mapping={"question": "ask", "answer": "reply"})
    with pytest.raises(FileRejectedError, match=r"MAPPING_COLUMN_MISSING.*topic"):
        read('[{"question": "q", "answer": "a"}]', mapping={"category": "topic"})


def test_lists_of_objects_without_pairs_are_named() -> None:
    found = read('{"faq": [{"question": "q", "answer": "a"}], "users": [{"name": "n"}], "tags": ["x"]}')
    assert [(note.code, "'users'" in note.message) for note in found.reader.notes] == [(NoteCode.PART_LEFT_OUT, True)]
    assert found.pairs == [("q", "a")]


def test_lists_whose_records_have_other_keys_are_read_each_by_its_own() -> None:
    found = read('{"a": [{"q": "1", "a": "2"}], "b": [{"question": "3", "answer": "4"}, {"question": "5"}]}')
    assert found.pairs == [("1", "2"), ("3", "4")]
    assert found.refused == [(3, RowCode.ANSWER_MISSING)]


def test_a_key_that_is_no_question_beside_one_is_none_without_it() -> None:
    found = read('[{"prompt": "p", "question": "q", "answer": "a"}, {"prompt": "p", "answer": "a"}]')
    assert (found.pairs, found.refused) == ([("q", "a")], [(2, RowCode.QUESTION_MISSING)])


@pytest.mark.parametrize(
    ("flawed", "code"),
    [
        ('{"question": "q", "question": "p", "answer": "a"}', RowCode.DUPLICATE_KEY),
        ('{"question": "q", "answer": NaN}', RowCode.NON_FINITE_NUMBER),
        ('{"question": "q", "answer": "\\ud800"}', RowCode.LONE_SURROGATE),
        ('{"question": "q", "answer": "\\u0000"}', RowCode.NUL_BYTE),
        ('{"question": "q", "answer": "\xff"}', RowCode.BAD_ENCODING),
        ("null", RowCode.NOT_A_RECORD),
        ('{"question": "q"}', RowCode.ANSWER_MISSING),
    ],
)
def test_a_flaw_inside_of_an_article_refuses_its_record_only(flawed: str, code: RowCode) -> None:
    good = '{"question": "q", "answer": "a"}'
    padding = '{"question": "q", "answer": "' + "é" * 200 + '"}'
    content = f'{{"data": [{{"title": "t", "qas": [{good}, {flawed}, {padding}]}}]}}'
    found = read(content.encode().replace("\xff".encode(), b"\xff"))
    assert found.refused == [(2, code)]
    assert len(found.pairs) == 2


def test_no_text_that_cannot_be_stored_is_handed_down() -> None:
    found = read('{"data": [{"title": "\\u0000", "qas": [{"question": "q", "answer": "a"}]}]}')
    assert found.refused == [(1, RowCode.NUL_BYTE)]


def test_both_lists_under_a_key_given_twice_are_read() -> None:
    record = '[{"question": "q", "answer": "a"}]'
    assert len(read(f'{{"data": {record}, "data": {record}}}').pairs) == 2


def test_one_article_may_not_be_larger_than_a_record() -> None:
    article = json.dumps({"qas": records([("q", "a")] * 400)})
    with pytest.raises(FileRejectedError, match="RECORD_TOO_LONG"):
        read(f'{{"data": [{article}]}}', limits=SMALL)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"data": []}', "COLUMNS_NOT_FOUND"),
        ('{"debug": "true", "host": "what"}', "COLUMNS_NOT_FOUND"),
        ('{"a": {"b": {"c": [1, 2]}}}', "UNSUPPORTED_LAYOUT"),
        ("[[1, 2], [3, 4]]", "UNSUPPORTED_LAYOUT"),
        ('{"data": [{"question": "q", "answer": "a"}', "INVALID_JSON"),
        ('{"data" [1]}', "INVALID_JSON"),
        ('{"data": [1], }', "INVALID_JSON"),
        ('{"a":' * 150 + "1" + "}" * 150, "UNSUPPORTED_LAYOUT|NESTED_TOO_DEEPLY"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "NESTED_TOO_DEEPLY"),
        ('{"a": ' + " " * 3_000 + '{"a": ' * 50 + "[" + "1," * 3_000 + "1]", "INVALID_JSON"),
    ],
)
@pytest.mark.parametrize("limits", [ParseLimits(), SMALL], ids=["whole", "opened"])
def test_a_document_without_records_is_rejected(content: str, code: str, limits: ParseLimits) -> None:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, limits=limits)
    assert rejection.value.code in code.split("|")
    assert len(rejection.value.message) < 1500


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.sampled_from(["q?", "a", "", "How is it?"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["question", "answer", "q", "a", "x", "How is it?", "text"]), inner, max_size=4
            )
        ),
        max_leaves=25,
    ),
    st.sampled_from([ParseLimits(), ParseLimits(cell_chars=40)]),
)
def test_any_value_is_rejected_or_read_in_rows_that_keep_the_promises(value: Any, limits: ParseLimits) -> None:
    try:
        rows = read(json.dumps([value, {"question": "x", "answer": "y"}]), limits=limits).rows
    except FileRejectedError:
        return
    assert [row.row_number for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert (row.code is None) == (row.reason is None)
        assert row.code or (row.question.strip() and row.answer.strip())


@pytest.mark.parametrize(
    "text", ["What is it?", "how do I reset it", "什么是AI吗", "何ですか", "¿Qué?", "ما هذا؟", "Wie geht das an"]
)
def test_questions_are_told_by_marks_words_and_particles(text: str) -> None:
    assert reads_as_question(text)


@pytest.mark.parametrize("text", ["host", "what", "display name", "do nothing", "Willkommen", "howto install it"])
def test_names_are_no_questions(text: str) -> None:
    assert not reads_as_question(text)
