from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import NoteCode
from helix_pipelines.parsing.tables.cell_texts import cell_text
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.handmade import ods, ods_cell, text_cell, xls, xlsx
from helix_pipelines_tests.parsing.reading import read

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), min_size=1, max_size=300)
"""XML, and so a workbook, holds no other control characters; what is blank is refused."""
HEADER = ["question", "answer"]
PAIRS = [HEADER, ["q1", "a1"], ["q2", "a2"]]


def workbook(sheets: Mapping[str, Sequence[Sequence[Any]]], hidden: Sequence[str] = ()) -> bytes:
    target = io.BytesIO()
    book = xlsxwriter.Workbook(target, {"default_date_format": "yyyy-mm-dd"})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for at, row in enumerate(rows):
            sheet.write_row(at, 0, row)
        if name in hidden:
            sheet.hide()
    book.close()
    return target.getvalue()


def code_of(content: bytes, **options: Any) -> str:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, **options)
    assert len(rejection.value.message) < 1500
    return rejection.value.code


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXT.filter(str.strip), TEXT.filter(str.strip)), min_size=1, max_size=20))
def test_what_is_written_is_read(pairs: list[tuple[str, str]]) -> None:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate([HEADER, *pairs]):
            for column, field in enumerate(row):
                sheet.write_string(at, column, field)
    assert read(target.getvalue()).pairs == pairs


def test_every_visible_sheet_with_pairs_is_read_under_its_name() -> None:
    found = read(
        workbook({"One": PAIRS, "Notes": [["just", "text"]], "Zwei": [["Frage", "Antwort"], ["f", "a"]], "Empty": []})
    )
    assert found.sniffed.format == "xlsx"
    assert [(row.sheet, row.row_number, row.question) for row in found.rows] == [
        ("One", 1, "q1"),
        ("One", 2, "q2"),
        ("Zwei", 1, "f"),
    ]
    (note,) = found.reader.notes
    assert note.code == NoteCode.SHEET_WITHOUT_PAIRS
    assert "'Notes'" in note.message
    assert "just, text" in note.message


def test_hidden_sheets_are_left_out_with_a_note_unless_named() -> None:
    content = workbook({"Open": PAIRS, "Secret": PAIRS}, hidden=["Secret"])
    found = read(content)
    assert {row.sheet for row in found.rows} == {"Open"}
    assert [note.code for note in found.reader.notes] == [NoteCode.SHEET_HIDDEN]
    assert {row.sheet for row in read(content, sheets=("secret",)).rows} == {"Secret"}


def test_an_unknown_sheet_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(FileRejectedError, match=r"SHEET_NOT_FOUND: .*'Nope'.*'S1', 'S2'"):
        read(workbook({"S1": PAIRS, "S2": PAIRS}), sheets=("Nope",))
    assert code_of(workbook({f"S{at}": PAIRS for at in range(60)}), sheets=("x" * 9000,)) == "SHEET_NOT_FOUND"


def test_a_named_sheet_without_pairs_is_refused() -> None:
    assert code_of(workbook({"S": PAIRS, "T": [["x", "y"]]}), sheets=("T",)) == "COLUMNS_NOT_FOUND"


def test_a_workbook_without_pairs_tells_the_columns_of_its_sheets() -> None:
    with pytest.raises(FileRejectedError, match=r"COLUMNS_NOT_FOUND: .*'A'.*alpha, beta.*'B'.*gamma"):
        read(workbook({"A": [["My list"], ["alpha", "beta"], [1, 2]], "B": [["gamma"]]}))
    assert code_of(workbook({"A": []})) == "EMPTY_FILE"
    assert code_of(workbook({"A": [[]], "B": PAIRS}, hidden=["B"])) == "EMPTY_FILE"


def test_the_header_may_follow_a_title_and_blank_rows() -> None:
    found = read(
        workbook({"S": [[], ["Our FAQ"], ["as of 2024"], [], ["", *HEADER], ["", "q", "a"], [], ["", "r", "b"]]})
    )
    assert found.pairs == [("q", "a"), ("r", "b")]
    assert [row.row_number for row in found.rows] == [1, 2]
    assert [note.code for note in found.reader.notes] == [NoteCode.PART_LEFT_OUT]


def test_typed_cells_become_the_texts_that_people_see() -> None:
    values = [42, 42.5, True, dt.date(2020, 1, 2), dt.datetime(2020, 1, 2, 3, 4, 5), 0.1 + 0.2, "  as is \n"]  # noqa: DTZ001
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet("S")
        sheet.write_row(0, 0, HEADER)
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        for at, value in enumerate(values, start=1):
            sheet.write(at, 0, f"q{at}")
            if isinstance(value, dt.date):
                sheet.write_datetime(at, 1, value, moment)
            else:
                sheet.write(at, 1, value)
    found = [answer for _, answer in read(target.getvalue()).pairs]
    assert found == ["42", "42.5", "true", "2020-01-02", "2020-01-02T03:04:05", "0.3", "  as is \n"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (dt.timedelta(hours=36, seconds=5), "36:00:05"),
        (dt.timedelta(seconds=-90), "-0:01:30"),
        (dt.timedelta(milliseconds=1500), "0:00:01.5"),
        (dt.time(3, 4), "03:04:00"),
        (1e15, "1000000000000000"),
        (1e300, "1e+300"),
        (-0.5, "-0.5"),
        (False, "false"),
        (7, "7"),
    ],
)
def test_a_cell_is_spelled_as_spreadsheets_show_it(cell: Any, text: str) -> None:
    assert cell_text(cell) == text


def test_formulas_give_their_result_and_else_themselves_with_a_note() -> None:
    rows = "".join(
        [
            f'<row r="1">{text_cell("A1", "question")}{text_cell("B1", "answer")}</row>',
            f'<row r="2">{text_cell("A2", "q1")}<c r="B2"><f>1+1</f><v>2</v></c></row>',
            f'<row r="3">{text_cell("A3", "q2")}<c r="B3"><f>IF(1&lt;2,"x")</f><v></v></c></row>',
            f'<row r="4">{text_cell("A4", "q3")}<c r="B4" t="str"><f>""</f><v></v></c></row>',
            f'<row r="5">{text_cell("A5", "q4")}<c r="B5" t="e"><v>#N/A</v></c></row>',
        ]
    )
    found = read(xlsx(rows))
    assert found.pairs == [("q1", "2"), ("q2", '=IF(1<2,"x")')]
    assert found.refused == [(3, "ANSWER_MISSING"), (4, "ANSWER_MISSING")]
    assert [note.code for note in found.reader.notes] == [NoteCode.FORMULA_NOT_COMPUTED]


def test_cells_beyond_the_header_and_merged_cells_lose_nothing() -> None:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet("S")
        sheet.write_row(0, 0, [*HEADER, "category"])
        sheet.merge_range(1, 2, 2, 2, "shared")
        sheet.write_row(1, 0, ["q1", "a1"])
        sheet.write_row(2, 0, ["q2", "a2"])
        sheet.write(2, 4, "a remark")
    rows = read(target.getvalue()).rows
    assert [(row.question, row.category, row.extra) for row in rows] == [
        ("q1", "shared", {}),
        ("q2", None, {"column 5": "a remark"}),
    ]


def test_a_nul_and_a_long_cell_are_matters_of_their_rows() -> None:
    content = workbook({"S": [HEADER, ["q1", "a\0"], ["q2", "x" * 200], ["q3", "a3"]]})
    found = read(content, limits=ParseLimits(cell_chars=100))
    assert found.pairs == [("q3", "a3")]
    assert found.refused == [(1, "NUL_BYTE"), (2, "CELL_TOO_LONG")]


def test_skipping_goes_across_sheets_and_rows_can_be_read_again() -> None:
    content = workbook({"A": PAIRS, "B": [[], *PAIRS, ["q3", ""]]})
    everything = read(content).rows
    assert [(row.sheet, row.row_number) for row in everything] == [("A", 1), ("A", 2), ("B", 1), ("B", 2), ("B", 3)]
    for skip in range(6):
        assert read(content, skip=skip).rows == everything[skip:]
    reader = read(content).reader
    assert [row for chunk in reader.chunks(max_rows=2) for row in chunk] == everything


def test_columns_are_mapped_as_the_user_says() -> None:
    content = workbook({"S": [["was", "dann"], ["q", "a"]]})
    assert read(content, mapping={"question": "was", "answer": "dann"}).pairs == [("q", "a")]
    assert code_of(content, mapping={"question": "nope"}) == "MAPPING_COLUMN_MISSING"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ParseLimits(sheets=1), "TOO_MANY_SHEETS"),
        (ParseLimits(columns=1), "TOO_MANY_COLUMNS"),
        (ParseLimits(rows=3), "TOO_MANY_ROWS"),
        (ParseLimits(workbook_bytes=2_000), "EXPANDED_TOO_LARGE"),
        (ParseLimits(workbook_bytes=9_000), "EXPANDED_TOO_LARGE"),
    ],
)
def test_limits_hold_for_the_whole_workbook(limits: ParseLimits, code: str) -> None:
    assert code_of(workbook({"A": PAIRS, "B": PAIRS}), limits=limits) == code


def test_two_cells_in_opposite_corners_do_not_ask_for_the_rectangle_between() -> None:
    for place in ("XFD1048576", "B99999999"):
        rows = f'<row r="1">{text_cell("A1", "question")}{text_cell("B1", "answer")}{text_cell(place, "x")}</row>'
        assert code_of(xlsx(rows)) == "TOO_MANY_CELLS"
    wide = f'<row r="1">{text_cell("A1", "question")}{text_cell("B1", "answer")}{text_cell("AZ3", "x")}</row>'
    assert read(xlsx(wide)).refused == [(1, "QUESTION_MISSING")]
    repeated = ods_cell("x", 'table:number-columns-repeated="16384"')
    assert code_of(ods(f'<table:table-row table:number-rows-repeated="1048576">{repeated}</table:table-row>')) == (
        "TOO_MANY_CELLS"
    )


def test_formatted_but_empty_rows_cost_nothing() -> None:
    empty = "".join(f'<row r="{at}"><c r="A{at}" s="0"/><c r="ZZ{at}" s="0"/></row>' for at in range(3, 50_000))
    first = f'<row r="1">{text_cell("A1", "question")}{text_cell("B1", "answer")}</row>'
    second = f'<row r="2">{text_cell("A2", "q")}{text_cell("B2", "a")}</row>'
    found = read(xlsx(first + second + empty), limits=ParseLimits(reader_memory=1 << 20))
    assert found.pairs == [("q", "a")]


def test_entities_are_refused_before_anything_is_parsed() -> None:
    prolog = '<?xml version="1.0"?><!-- x --><!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    assert code_of(xlsx(f"<row>{text_cell('A1', '&x;')}</row>", prolog)) == "XML_ENTITIES"


def test_a_damaged_or_cut_workbook_is_told_so() -> None:
    content = workbook({"S": PAIRS})
    for cut in range(400, len(content), 500):
        assert code_of(content[:cut]) in {"DAMAGED_WORKBOOK", "DAMAGED_ARCHIVE"}
    assert code_of(xlsx("<row><c r=</row>")) == "DAMAGED_WORKBOOK"


def test_an_open_document_spreadsheet_is_read() -> None:
    header = f"<table:table-row>{ods_cell('question')}{ods_cell('answer')}</table:table-row>"
    number = '<table:table-cell office:value-type="float" office:value="42"><text:p>42.00</text:p></table:table-cell>'
    date = '<table:table-cell office:value-type="date" office:date-value="2020-01-02"><text:p>2 Jan</text:p></table:table-cell>'
    blank = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell/></table:table-row>'
    rows = "".join(
        f"<table:table-row>{ods_cell(f'q{at}')}{cell}</table:table-row>" for at, cell in enumerate([number, date])
    )
    found = read(ods(header + rows + blank))
    assert found.sniffed.format == "ods"
    assert found.pairs == [("q0", "42"), ("q1", "2020-01-02")]
    assert found.rows[0].sheet == "FAQ"


def test_an_old_excel_workbook_is_read() -> None:
    found = read(xls([["question", "answer"], ["q1", "a1"], ["", ""], ["q2", ""]]))
    assert found.sniffed.format == "xls"
    assert found.pairs == [("q1", "a1")]
    assert found.refused == [(2, "ANSWER_MISSING")]
    assert {row.sheet for row in found.rows} == {"FAQ"}
