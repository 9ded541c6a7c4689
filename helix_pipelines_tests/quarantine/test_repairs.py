from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from helix_pipelines.quarantine.cells import workbook_cell
from helix_pipelines.quarantine.repairs import Correction, Faulty, Unchanged, judge
from helix_pipelines.quarantine.rows import QuarantinedRow, column_of, field_of, header
from helix_pipelines.quarantine.worksheets import WorksheetRow

LONG = "A long answer. " * 5_000


def row_of(raw: Any, code: str = "QUESTION_MISSING", columns: Mapping[str, str] | None = None) -> QuarantinedRow:
    line = {
        "stage": "parsing",
        "import": 1,
        "root": 1,
        "sheet": None,
        "row": 5,
        "path": "faq.csv",
        "code": code,
        "message": "?",
    }
    return QuarantinedRow.of({**line, "raw": raw, "columns": columns or {"question": "Frage", "answer": "Antwort"}})


def judged(row: QuarantinedRow, **changes: str) -> Unchanged | Faulty | Correction:
    """The verdict on the row's line of a table with some cells changed; `_` in a name stands for a blank."""
    names = list(row.fields)
    cells = dict(zip(header(names), row.cells(names), strict=True))
    cells |= {name.replace("_", " "): text for name, text in changes.items()}
    return judge(row, WorksheetRow(1, row.place, cells), set(cells))


def test_fields_without_a_role_keep_their_values_and_types() -> None:
    row = row_of({"Frage": "", "Antwort": "Ja.", "stars": 5, "tags": ["a", {"b": None}], "none": None})
    assert judged(row, question="Was?") == Correction(
        {"question": "Was?", "answer": "Ja."}, {"stars": 5, "tags": ["a", {"b": None}]}
    )
    changed = judged(row, question="Was?", stars="4", tags="")
    assert changed == Correction({"question": "Was?", "answer": "Ja."}, {"stars": "4"})


def test_a_row_as_it_was_written_is_unchanged() -> None:
    assert judged(row_of({"Frage": "", "Antwort": "=Ja", "x": "'=1"})) == Unchanged()
    assert judged(row_of("not,cut", "UNCLOSED_QUOTE")) == Unchanged()


def test_a_column_that_was_deleted_changes_nothing() -> None:
    row = row_of({"Frage": "", "Antwort": "Ja.", "team": "north"})
    cells = {"question": "Was?", "answer": "Ja."}
    assert judge(row, WorksheetRow(1, row.place, cells), set(cells)) == Correction(
        {"question": "Was?", "answer": "Ja."}, {"team": "north"}
    )
    emptied = judge(row, WorksheetRow(1, row.place, cells), {*cells, "team"})
    assert emptied == Correction({"question": "Was?", "answer": "Ja."}, {})


def test_the_apostrophe_before_a_formula_is_taken_off_again() -> None:
    row = row_of({"Frage": "", "Antwort": "=1", "x": "'=1"})
    assert judged(row, question="'=2") == Correction({"question": "=2", "answer": "=1"}, {"x": "'=1"})
    assert judged(row, question="''=2") == Correction({"question": "'=2", "answer": "=1"}, {"x": "'=1"})


def test_a_record_that_was_not_cut_into_fields_is_filled_in() -> None:
    row = row_of('a,"b', "UNCLOSED_QUOTE")
    assert row.cells([])[-1] == 'a,"b'
    assert judged(row, question="a", answer="b") == Correction({"question": "a", "answer": "b"}, {})


def test_an_answer_that_was_a_list_stays_one_unless_it_is_written_anew() -> None:
    row = row_of({"Frage": "", "Antwort": ["a", "b"]})
    assert judged(row, question="Was?") == Correction({"question": "Was?", "answer": "a; b"}, {"Antwort": ["a", "b"]})
    assert judged(row, question="Was?", answer="c") == Correction({"question": "Was?", "answer": "c"}, {})


def test_a_cell_that_shows_only_the_beginning_keeps_the_whole_text() -> None:
    row = row_of({"Frage": "", "Antwort": LONG})
    assert judged(row, question="Was?", answer=workbook_cell(LONG)) == Correction(
        {"question": "Was?", "answer": LONG}, {}
    )


@pytest.mark.parametrize("cell", ["New. " + workbook_cell(LONG), LONG[:32_767]])
def test_a_text_that_was_cut_and_changed_is_not_taken(cell: str) -> None:
    verdict = judged(row_of({"Frage": "", "Antwort": LONG}), question="Was?", answer=cell)
    assert isinstance(verdict, Faulty)
    assert verdict.code == "CELL_CUT"


@pytest.mark.parametrize(
    ("raw", "code", "changes", "expected"),
    [
        ({"Frage": "caf\\xe9?", "Antwort": "Ja."}, "BAD_ENCODING", {"answer": "Nein."}, "BAD_ENCODING"),
        ({"Frage": "caf\\xe9?", "Antwort": "Ja."}, "BAD_ENCODING", {"question": "café?"}, None),
        ({"Frage": "a\\x00?", "Antwort": "Ja."}, "NUL_BYTE", {"category": "x"}, "NUL_BYTE"),
        ({"Frage": "a", "Antwort": "xx ... [9 more characters]"}, "CELL_TOO_LONG", {"question": "b"}, "CELL_TOO_LONG"),
        ({"Frage": "a", "Antwort": "xx ... [9 more characters]"}, "CELL_TOO_LONG", {"answer": "short"}, None),
        ({"Frage": "a", "Antwort": "b", "field 3": "c"}, "TOO_MANY_FIELDS", {"answer": "b, c"}, "TOO_MANY_FIELDS"),
        ({"Frage": "a", "Antwort": "b", "field 3": "c"}, "TOO_MANY_FIELDS", {"answer": "b, c", "field_3": ""}, None),
        ({"Frage": "", "Antwort": "b"}, "QUESTION_MISSING", {"question": "\t"}, "QUESTION_MISSING"),
        ({"Frage": "", "Antwort": "b"}, "QUESTION_MISSING", {"question": "a", "answer": ""}, "ANSWER_MISSING"),
    ],
)
def test_a_row_is_corrected_once_nothing_is_wrong_with_it(
    raw: dict[str, str], code: str, changes: dict[str, str], expected: str | None
) -> None:
    verdict = judged(row_of(raw, code), **changes)
    assert (verdict.code if isinstance(verdict, Faulty) else None) == expected
    assert not isinstance(verdict, Unchanged)


@pytest.mark.parametrize("name", ["question", "Question", "ID", "helix_row", "helix_own", "field:x", "a field"])
def test_a_field_called_like_a_column_has_another_name_in_the_table(name: str) -> None:
    column = column_of(name)
    assert column is not None
    assert field_of(column) == name
    assert column not in header([])


@pytest.mark.parametrize("name", ["", " padded", "two\nlines", "x" * 300])
def test_a_name_that_no_header_can_hold_has_no_column(name: str) -> None:
    assert column_of(name) is None


def test_where_the_mapping_does_not_fit_a_sheet_the_names_of_its_fields_tell_the_roles() -> None:
    row = row_of({"Question": "", "Answer": "Yes."}, columns={"question": "Frage", "answer": "Antwort"})
    assert row.texts == {"question": "", "answer": "Yes."}


def test_a_role_that_the_mapping_does_not_have_on_a_sheet_is_told_by_its_name() -> None:
    row = row_of({"Frage": "Was?", "Answer": ""}, columns={"question": "Frage", "answer": "Antwort"})
    assert row.texts == {"question": "Was?", "answer": ""}
    short = row_of({"Frage": "Was?", "team": "x"}, "TOO_FEW_FIELDS")
    assert (short.texts, short.fields) == ({"question": "Was?"}, {"team": "x"})


def test_a_correction_that_was_refused_has_its_texts_under_their_roles() -> None:
    raw = {"row": 5, "sheet": "FAQ", "question": "Was?", "answer": "x" * 9, "extra": {"team": "north"}}
    line = {**row_of(raw).line, "import": 2}
    row = QuarantinedRow.of(line)
    assert (row.texts["answer"], row.texts["url"], row.fields) == ("x" * 9, "", {"team": "north"})
