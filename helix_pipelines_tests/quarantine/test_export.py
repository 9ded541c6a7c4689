from __future__ import annotations

import csv
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.quarantine import export as exports
from helix_pipelines.quarantine.export import Exported, export_quarantine
from helix_pipelines.quarantine.repairs import Unchanged, judge
from helix_pipelines.quarantine.rows import QuarantinedRow, column_of, header
from helix_pipelines.quarantine.worksheets import WorksheetRow, read_worksheet
from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines_tests.stages import Stages

ROWS = [
    {"Frage": "How?", "Antwort": "So.", "=cmd": "x"},
    {"Frage": "=HYPERLINK(1)", "Antwort": "", "=cmd": "+1"},
    {"Frage": "", "Antwort": "http://example.org\n007", "=cmd": ""},
]
MAPPING = {"question": "Frage", "answer": "Antwort"}

Export = Callable[..., Exported]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def export(stages: Stages, connection: psycopg.Connection) -> Export:
    stages.run(ROWS, mapping=MAPPING)

    def write(path: Path, *, force: bool = False, code: str | None = None) -> Exported:
        return export_quarantine(connection, path, {"collection": stages.collection, "code": code}, force=force)

    return write


def worksheet(path: Path) -> list[WorksheetRow]:
    return [row for chunk in read_worksheet(path, ParseLimits()) for row in chunk]


def test_a_csv_has_the_rows_with_their_reasons_and_no_formula(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    assert export(path) == Exported(2, 0)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(newline="", encoding="utf-8-sig") as file:
        first, second = csv.DictReader(file)
    assert list(first)[-2:] == ["'=cmd", "helix_raw"]
    assert (first["helix_row"], first["helix_code"]) == ("2", "ANSWER_MISSING")
    assert first["helix_reason"] == "'Antwort' is blank"
    assert first["helix_hint"] == "Fill in the answer."
    assert (first["question"], first["'=cmd"]) == ("'=HYPERLINK(1)", "'+1")
    assert second["answer"] == "http://example.org\n007"


def test_a_workbook_holds_texts_and_nothing_else(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "bad.xlsx"
    assert export(path).rows == 2
    with zipfile.ZipFile(path) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
        assert not [name for name in parts.namelist() if "hyperlink" in name or "external" in name.lower()]
    assert "<f>" not in sheet
    assert "<hyperlink" not in sheet
    assert "<v>" not in sheet.replace('t="s"><v>', "")
    first, second = worksheet(path)
    assert first.cells["question"] == "'=HYPERLINK(1)"
    assert first.cells["=cmd"] == "'+1"
    assert second.cells["answer"] == "http://example.org\n007"


@pytest.mark.parametrize("name", ["bad.csv", "bad.xlsx"])
def test_only_the_owner_may_read_it_and_nothing_is_replaced_unasked(export: Export, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    export(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_bytes()
    with pytest.raises(UsageError, match="FILE_EXISTS"):
        export(path, code="QUESTION_MISSING")
    assert path.read_bytes() == written
    assert export(path, force=True, code="QUESTION_MISSING").rows == 1
    assert [row.place.row for row in worksheet(path) if row.place] == [3]
    assert list(tmp_path.glob(".*")) == []


def test_without_rows_there_is_no_file(export: Export, tmp_path: Path) -> None:
    assert export(tmp_path / "bad.csv", code="NUL_BYTE") == Exported(0, 0)
    assert not (tmp_path / "bad.csv").exists()


def test_what_cannot_be_written_is_said_and_leaves_nothing(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="EXPORT_FORMAT_UNKNOWN"):
        export(tmp_path / "bad.ods")
    with pytest.raises(SetupError, match="EXPORT_UNWRITABLE"):
        export(tmp_path / "none" / "bad.csv")
    monkeypatch.setattr(exports, "WORKBOOK_ROWS", 1)
    with pytest.raises(UsageError, match="EXPORT_TOO_LONG"):
        export(tmp_path / "bad.xlsx")
    assert [path for path in tmp_path.iterdir() if path.suffix == ".xlsx"] == []


names = st.text(min_size=1, max_size=10).filter(lambda name: name not in {"q", "a"})
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
texts = st.text("'=+-@＝ \t\r\n;,\"a\ufeff_x0041", max_size=8) | storable
records = st.dictionaries(names, texts | st.integers() | st.none(), max_size=4)


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=texts, answer=texts, fields=records)
def test_any_record_comes_back_as_it_was(
    tmp_path: Path, suffix: str, question: str, answer: str, fields: dict[str, Any]
) -> None:
    line = {
        "stage": "parsing",
        "import": 1,
        "root": 1,
        "sheet": None,
        "row": 5,
        "path": "f",
        "code": "X",
        "message": "m",
    }
    row = QuarantinedRow.of(
        {**line, "columns": {"question": "q", "answer": "a"}, "raw": {**fields, "q": question, "a": answer}}
    )
    columns = [name for name in fields if column_of(name)]
    path = tmp_path / f"one.{suffix}"
    with path.open("wb") as file, exports._table(path, file) as table:
        table.write(header(columns))
        table.write(row.cells(columns))
    [found] = worksheet(path)
    assert found.place == row.place
    assert judge(row, found, set(found.cells)) == Unchanged()
