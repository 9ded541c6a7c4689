from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.tables.csv_records import BATCH_RECORDS, RUNAWAY_BREAKS, CsvRecords, Record, TornLine

MESSY_TEXT = st.text(alphabet='ab",\n\r', max_size=60)


def records_of(text: str, *cuts: int, width: int = 2, limits: ParseLimits | None = None) -> list[Record]:
    """All records of a text whose lines come in windows of the given sizes, the rest in one."""
    lines = io.StringIO(text, newline="").readlines()
    windows = []
    for cut in cuts:
        windows.append(lines[:cut])
        lines = lines[cut:]
    windows.append(lines)
    return [record for window, _ in CsvRecords(windows, ",", limits or ParseLimits(), width) for record in window]


@given(MESSY_TEXT, st.lists(st.integers(0, 4), max_size=6))
def test_where_windows_end_makes_no_difference(text: str, cuts: list[int]) -> None:
    assert records_of(text, *cuts) == records_of(text)


@given(st.lists(st.lists(st.text(alphabet='ab",\n '), min_size=2, max_size=2), max_size=5))
def test_clean_text_is_cut_as_by_the_csv_module(records: list[list[str]]) -> None:
    target = io.StringIO(newline="")
    csv.writer(target, quoting=csv.QUOTE_ALL).writerows(records)
    assert records_of(target.getvalue()) == records


@given(MESSY_TEXT)
def test_every_line_with_text_ends_in_some_record(text: str) -> None:
    seen = "".join(record.text if isinstance(record, TornLine) else "".join(record) for record in records_of(text))
    assert seen.count("a") == text.count("a")
    assert seen.count("b") == text.count("b")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_thousand_rows_survive_a_stray_quote_before_them(ending: str) -> None:
    good = [[f"q{number}", f"a{number}"] for number in range(1000)]
    text = 'torn,"never closed' + ending + "".join(f"{question},{answer}{ending}" for question, answer in good)
    torn, *rest = records_of(text)
    assert isinstance(torn, TornLine)
    assert torn.code is RowCode.UNCLOSED_QUOTE
    assert rest == good


def test_rows_with_quotes_survive_a_stray_quote_before_them() -> None:
    torn, *rest = records_of('torn,"never closed\n' + 'q,"a, b"\n' * 1000)
    assert isinstance(torn, TornLine)
    assert rest == [["q", "a, b"]] * 1000


def test_a_quote_that_is_open_at_the_end_refuses_its_line_only() -> None:
    *good, torn = records_of('q1,a1\nq2,"a2')
    assert good == [["q1", "a1"]]
    assert torn == TornLine('q2,"a2', RowCode.UNCLOSED_QUOTE, "a double quote opens a text and is not closed in time")


def test_a_long_answer_that_is_closed_properly_is_one_record() -> None:
    answer = "line\n" * (4 * RUNAWAY_BREAKS)
    assert records_of(f'q,"{answer}"\n' * 3) == [["q", answer]] * 3


def test_a_field_that_ran_over_many_lines_into_another_quote_is_refused_at_its_first_line() -> None:
    swallowed = "".join(f"q{number},a{number}\n" for number in range(RUNAWAY_BREAKS + 1))
    torn, *rest = records_of(f'torn,"open\n{swallowed}q,", closes here by chance"\n')
    assert isinstance(torn, TornLine)
    assert len(rest) == RUNAWAY_BREAKS + 2
    assert rest[-1] == ["q", ", closes here by chance"]


def test_a_field_over_the_limit_and_over_lines_is_refused_at_its_first_line() -> None:
    limits = ParseLimits(cell_chars=100)
    torn, *rest = records_of('q,"' + "a long answer\n" * 10 + '"\nq2,a2\n', limits=limits)
    assert isinstance(torn, TornLine)
    assert rest[-1] == ["q2", "a2"]


def test_an_open_field_is_given_up_at_the_limit_and_not_at_the_end_of_the_file() -> None:
    limits = ParseLimits(cell_chars=1000)
    text = 'torn,"open\n' + "q,a\n" * 2000
    torn, *rest = records_of(text, *[100] * 20, limits=limits)
    assert isinstance(torn, TornLine)
    assert rest == [["q", "a"]] * 2000


def test_quotes_inside_a_text_are_kept_where_the_line_reads_literally() -> None:
    assert records_of('"Hamlet" was written by?,"Will" S.\n') == [['"Hamlet" was written by?', '"Will" S.']]


def test_a_line_that_can_be_read_in_two_ways_is_refused() -> None:
    (torn,) = records_of('"She said "hi, you" to me",a\n')
    assert isinstance(torn, TornLine)
    assert torn.code is RowCode.STRAY_QUOTE


def test_a_line_longer_than_any_record_is_refused_and_the_next_is_read() -> None:
    limits = ParseLimits(cell_chars=10)
    first, torn, last = records_of("q1,a1\n" + "x" * 100 + "\nq2,a2\n", limits=limits)
    assert (first, last) == (["q1", "a1"], ["q2", "a2"])
    assert isinstance(torn, TornLine)
    assert torn.code is RowCode.CELL_TOO_LONG


@settings(max_examples=30)
@given(st.integers(0, 3 * BATCH_RECORDS))
def test_a_torn_line_anywhere_in_a_batch_is_the_only_one_lost(at: int) -> None:
    lines = ["q,a\n"] * (3 * BATCH_RECORDS)
    lines.insert(at, 'q,"a\n')
    records = records_of("".join(lines))
    assert [number for number, record in enumerate(records) if isinstance(record, TornLine)] == [at]


def test_torn_lines_take_time_in_proportion_to_their_number() -> None:
    started = time.process_time()
    assert len(records_of('"x\n' * 20_000)) == 20_000
    assert time.process_time() - started < 5


def test_two_line_records_by_the_thousand_are_not_taken_for_runaways() -> None:
    assert records_of('q,"a\nb"\n' * 1000) == [["q", "a\nb"]] * 1000
