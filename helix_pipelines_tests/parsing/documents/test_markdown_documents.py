from __future__ import annotations

import gzip
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import NoteCode
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

WORD = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=12)
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
QUESTION = SENTENCE.map(lambda words: f"What is x{words}?")
BLOCK = st.one_of(
    SENTENCE.map(lambda words: f"An {words}."),
    SENTENCE.map(lambda words: f"- one\n- [{words}](https://example.org/)"),
    SENTENCE.map(lambda words: f"```sh\n# {words}?\n\n## Why?\n```"),
    SENTENCE.map(lambda words: f"> {words}"),
    SENTENCE.map(lambda words: f"#### On {words}\n\ntext"),
)
ANSWER = st.lists(BLOCK, min_size=1, max_size=4).map("\n\n".join)
PAIRS = st.lists(st.tuples(QUESTION, ANSWER), min_size=1, max_size=8)
PLAIN = st.tuples(QUESTION, SENTENCE.map(lambda words: f"An {words}."))
PLAIN_PAIRS = st.lists(PLAIN, min_size=2, max_size=8)


@given(PAIRS, st.sampled_from(["## {}\n\n{}\n\n", "## {} ##\n{}\n\n---\n\n", "{}\n---\n\n{}\n\n***\n\n\n"]))
def test_headings_and_the_source_below_them_come_back_to_the_letter(pairs: list[tuple[str, str]], form: str) -> None:
    found = read("# FAQ\n\n" + "".join(form.format(*pair) for pair in pairs))
    assert found.sniffed.format == "markdown"
    assert found.pairs == pairs
    assert {row.category for row in found.rows} == {"FAQ"}


@given(
    PLAIN_PAIRS,
    st.sampled_from(
        [
            "**{}**\n\n{}\n\n",
            "**Q: {}**\n\nA: {}\n\n",
            "**Q:** {}\n\n**A:** {}\n\n",
            "Q: {}\nA: {}\n\n",
            "<details>\n<summary>{}</summary>\n\n{}\n\n</details>\n\n",
            "<details><summary><b>{}</b></summary>{}</details>\n\n",
        ]
    ),
)
def test_other_structures_give_the_pairs_written_in_them(pairs: list[tuple[str, str]], form: str) -> None:
    assert read("# FAQ\n\n" + "".join(form.format(*pair) for pair in pairs)).pairs == pairs


@given(PLAIN_PAIRS, st.booleans())
def test_a_table_with_a_question_and_an_answer_column_is_read(pairs: list[tuple[str, str]], has_title: bool) -> None:
    table = "| Question | Answer | Topic |\n|---|:-:|---|\n" + "".join(f"| {q} | {a} | x |\n" for q, a in pairs)
    found = read("# FAQ\n\n" + table if has_title else table)
    assert found.pairs == pairs
    assert {row.category for row in found.rows} == {"x"}


def test_the_text_of_a_heading_is_read_without_its_markup() -> None:
    question = "## What is *the* `map()` of [this](http://example.org) ![logo](x.png)? {#map}\n\nThat.\n"
    row = read(question).rows[0]
    assert row.question == "What is the map() of this logo?"
    assert row.extra == {"anchor": "map"}


def test_where_most_headings_of_a_level_are_questions_all_with_text_are_taken() -> None:
    found = read("## A\n### Why?\na\n### Explain it.\nb\n### How?\nc\n### Unwritten\n## Licence\nMIT\n")
    assert found.pairs == [("Why?", "a"), ("Explain it.", "b"), ("How?", "c")]
    assert [note.code for note in found.reader.notes] == [NoteCode.PART_LEFT_OUT]
    assert "'Licence'" in found.reader.notes[0].message


def test_headings_within_an_answer_belong_to_it_and_chapters_are_no_questions() -> None:
    found = read("# How can we help?\n\n## What?\na\n### Details\nb\n## Why?\n```\n## no heading?\n```\n")
    assert found.pairs == [("What?", "a\n### Details\nb"), ("Why?", "```\n## no heading?\n```")]


def test_the_headings_above_a_question_are_its_category_and_section() -> None:
    row = read("# Help\n\n## Billing\n\n### Why?\n\nSo.\n").rows[0]
    assert (row.category, row.extra) == ("Billing", {"section": ["Help", "Billing"]})


def test_line_ends_and_indentation_of_an_answer_stay_as_they_are() -> None:
    found = read("## What?\r\n\r\n    code\r\n\r\nText.\r\n\r\n## Why?\r\nb")
    assert found.pairs == [("What?", "    code\r\n\r\nText."), ("Why?", "b")]


def test_front_matter_is_metadata() -> None:
    found = read("---\ntitle: 'My FAQ'\ntags:\n  - a\n---\n# FAQ\n\n## Why?\n\nSo.\n")
    assert found.pairs == [("Why?", "So.")]
    assert found.rows[0].extra["front_matter"] == {"title": "My FAQ"}


def test_a_question_without_an_answer_is_quarantined() -> None:
    found = read("## Why?\n\n## How?\n\nSo.\n")
    assert found.refused == [(1, "ANSWER_MISSING")]
    assert found.rows[0].raw == {"question": "Why?", "answer": ""}


def test_bytes_that_are_no_text_and_long_answers_are_quarantined_alone() -> None:
    content = b"## Why \xc3\xa9\xc3\xa9?\na\xff\n## Who?\nb\0\n## What?\n" + b"x" * 101 + b"\n## How?\nfine\n"
    found = read(content, limits=ParseLimits(cell_chars=100))
    assert found.refused == [(1, "BAD_ENCODING"), (2, "NUL_BYTE"), (3, "CELL_TOO_LONG")]
    assert found.pairs == [("How?", "fine")]
    assert found.rows[0].raw == {"question": "Why éé?", "answer": "a\\xff"}
    assert found.rows[1].raw == {"question": "Who?", "answer": "b\\x00"}


@pytest.mark.parametrize(
    "content",
    [
        "Welcome, all of you, to this.\n\nIt is, in short, good.\n\n## What, then?\n\nThis, or that.\n\n## Why?\n\nSo, so.\n",
        "[![Build](https://example.org/a.svg)](https://example.org)\n\n# FAQ\n\n## Why?\n\nSo.\n",
        "[Home](a.md) | [FAQ](b.md)\n\n## Why?\n\nSo.\n",
        "- [Why?](#why)\n\n## Why?\n\nSo.\n",
        "---\ntitle: FAQ\n---\n\n## Why?\n\nSo.\n",
        "FAQ\n===\n\nWhy?\n----\n\nSo.\n",
        '<p align="center"><img src="logo.png"></p>\n\n# FAQ\n\n## Why?\n\nSo.\n',
        "<!-- generated -->\n\n## Why?\n\nSo.\n",
        "\ufeff\n\n# FAQ\n\n## Why?\n\n- Note: so.\n",
    ],
)
def test_markdown_is_recognised_whatever_it_begins_with(content: str) -> None:
    found = read(content)
    assert found.sniffed.format == "markdown"
    assert found.rows[-1].question == "Why?"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('question,answer\n"What?","# Title\n\n## Why?\n\n## How?\n\n"\n', "csv"),
        ('title,body\n"a","# Title\n\n## Why?\n\n## How?\n\n"\n', "csv"),
        ("# Question,Answer\na,b\n", "csv"),
        ("question,answer\n<p>What?</p>,<b>x</b>\n", "csv"),
        ("# Settings\n# of the chat\nquestion: a\nanswer: b\n", "yaml"),
        ("---\nquestion: a\nanswer: b\n---\nquestion: c\nanswer: d\n", "yaml"),
        ("# What is this?\n- question: a\n  answer: |\n    ## How?\n    so\n", "yaml"),
    ],
)
def test_tables_and_yaml_with_markdown_in_them_stay_what_they_are(content: str, kind: str) -> None:
    assert read(content, {"question": "title", "answer": "body"} if "title" in content else None).sniffed.format == kind


@pytest.mark.parametrize("content", ["# Changelog\n\nText.\n\n## 1.0\n\n- Fixed.\n", "# FAQ\n"])
def test_a_document_without_questions_is_rejected_and_told_what_is_recognised(content: str) -> None:
    with pytest.raises(FileRejectedError, match=r"QUESTIONS_NOT_FOUND.*headings"):
        read(content)


def test_a_document_beyond_the_limit_is_rejected_before_it_is_read_packed_or_not() -> None:
    content = b"## Why?\n" + b"so\n" * 1000
    for data in (content, gzip.compress(content)):
        with pytest.raises(FileRejectedError, match="DOCUMENT_TOO_LARGE"):
            read(data, limits=ParseLimits(document_bytes=1000))


def test_rows_keep_their_numbers_when_some_are_skipped() -> None:
    content = "".join(f"## Why {number}?\n{number}\n" for number in range(5))
    assert [row.row_number for row in read(content, skip=3).rows] == [4, 5]


@pytest.mark.parametrize(
    "bomb",
    [
        ">" * 100_000,
        "[" * 100_000,
        "**a" * 50_000,
        "`" * 50_000 + "a",
        "- " * 20_000 + "x",
        ">\n" * 20_000,
        "<details><summary>" * 10_000,
        "**Q: " * 10_000,
        "[a]: b\n" * 5_000,
        "[a\n" * 5_000,
        "|a" * 2_000 + "\n" + "|-" * 2_000 + "\n" + "|x\n" * 500,
        "".join("#" * (1 + number % 6) + " Why?\n" for number in range(20_000)),
    ],
)
def test_no_markdown_takes_long(bomb: str) -> None:
    began = time.process_time()
    for content in (f"## Why?\n\n{bomb}\n\n## How?\n\nSo.\n", f"## Why {bomb[:20_000]}?\n\nSo.\n"):
        assert read(content).rows
    assert time.process_time() - began < 10


@settings(max_examples=300)
@given(st.text(alphabet="#>-*_`[]()<>!|:=\\ ?QA.a\n\t\r\0", max_size=80))
@example("## Why?\n<details><summary>Why?</summary></summary>")
def test_any_text_is_read_or_rejected(content: str) -> None:
    try:
        found = read("# Why?\n\n" + content)
    except FileRejectedError:
        return
    assert all(row.question.strip() and row.answer.strip() for row in found.rows if row.code is None)
