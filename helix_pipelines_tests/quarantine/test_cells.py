from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.quarantine.cells import (
    LONGEST_CELL,
    is_cut,
    is_unchanged,
    neutralised,
    restored,
    workbook_cell,
)

DANGEROUS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    " =1",
    "−1",
    "\ufeff=1",
    "\u00a0@x",
]
starts = st.text("'=+-@＝ \t\r\nab\ufeff", max_size=6)


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    assert neutralised(text) == f"'{text}"
    assert neutralised(f"'{text}") == f"''{text}"


@pytest.mark.parametrize("text", ["", "'", "'quoted'", "How?", "a=b", "'tis", "5 - 3"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert neutralised(text) == text
    assert restored(text) == text


@given(starts | st.text())
def test_every_text_comes_back(text: str) -> None:
    assert restored(neutralised(text)) == text


@given(starts | st.text())
def test_no_cell_can_be_run(text: str) -> None:
    for cell in (neutralised(text), workbook_cell(text)):
        assert not re.match(r"[\s\ufeff]*[=+\-@＝＋－＠]|[\t\r\n]", cell)


@given(starts | st.text())
def test_a_cell_that_nobody_touched_is_unchanged(text: str) -> None:
    assert is_unchanged(neutralised(text), text)
    assert is_unchanged(workbook_cell(text), text)
    assert is_unchanged(neutralised(text).replace("\r\n", "\n").replace("\n", "\r\n"), text)


def test_a_formula_that_a_person_types_as_a_text_is_that_text() -> None:
    assert restored("=1+1") == "=1+1"
    assert restored("'") == "'"


@pytest.mark.parametrize("character", ["x", "\U0001f600"])
def test_a_long_text_is_cut_and_says_so(character: str) -> None:
    text = character * (LONGEST_CELL + 1)
    cell = workbook_cell(text)
    assert len(cell.encode("utf-16-le")) // 2 <= LONGEST_CELL
    assert is_cut(cell)
    assert is_unchanged(cell, text)
    assert not is_cut(text)


def test_a_text_that_a_spreadsheet_cut_is_told_from_a_short_one() -> None:
    text = "word " * 10_000
    assert is_cut(text[:LONGEST_CELL], text)
    assert not is_cut("word word", text)
    assert not is_cut("Another text.", text)


def test_characters_that_a_workbook_cannot_hold_are_shown() -> None:
    assert workbook_cell("a\x0bb\uffff") == "a\\x0bb\\uffff"


@pytest.mark.parametrize(("cell", "text"), [("7", "007"), ("1.1", "1.10"), ("1.23457E+15", "1234567890123456")])
def test_a_number_that_a_spreadsheet_spells_anew_is_unchanged(cell: str, text: str) -> None:
    assert is_unchanged(cell, text)


@pytest.mark.parametrize(("cell", "text"), [("8", "007"), ("7", "7a"), ("1.23458E+15", "1234567890123456"), ("7", "")])
def test_another_number_is_a_change(cell: str, text: str) -> None:
    assert not is_unchanged(cell, text)
