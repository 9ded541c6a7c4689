from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook

from helix_pipelines_tests.cli.conftest import Ended, RunHelix
from helix_pipelines_tests.cli.staged_runs import StagedRuns, die_before_embedding
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import MODEL, Stages

BAD_ROWS = {17: "question", 400: "answer", 801: "answer"}
CORRECTED = {"17": "What was missing?", "400": "The answer to 400.", "801": "=SUM(A1)"}
Change = Callable[[dict[str, str]], dict[str, str]]


@pytest.fixture
def stages(
    connection: psycopg.Connection, database_url: str, service: FakeEmbeddingService, tmp_path: Path
) -> Iterator[Stages]:
    stages = Stages(database_url, tmp_path, service.url, collection="default")
    yield stages
    stages.database.close()


@pytest.fixture
def runs(stages: Stages, helix_on_database: RunHelix, monkeypatch: pytest.MonkeyPatch) -> StagedRuns:
    runs = StagedRuns(stages)
    monkeypatch.setattr("helix_pipelines.instance.dagster_runs.RunStarter", runs)
    monkeypatch.setenv("HELIX_EMBEDDING_URL", stages.service)
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", MODEL)
    monkeypatch.setenv("LOGNAME", "ada")
    return runs


def rows_of(count: int, bad: Mapping[int, str] = BAD_ROWS) -> list[dict[str, str]]:
    rows = [
        {"question": f"Question {n}?", "answer": f"Answer {n}.", "team": f"team {n % 3}"} for n in range(1, count + 1)
    ]
    for number, column in bad.items():
        rows[number - 1][column] = ""
    return rows


def repaired(row: dict[str, str]) -> dict[str, str]:
    """What a person does to the rows of the story."""
    column = "question" if row["helix_code"] == "QUESTION_MISSING" else "answer"
    return {**row, column: CORRECTED[row["helix_row"]]}


def edit(path: Path, change: Change) -> list[dict[str, str]]:
    """Change every row of a table as a spreadsheet would save it; the rows as they were."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, reader.fieldnames or [], delimiter=";")
        writer.writeheader()
        writer.writerows(change(row) for row in rows)
    return rows


def listed(helix: RunHelix, *options: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = helix("quarantine", "list", "--json", *options).document["rows"]
    return rows


def imported(helix: RunHelix, path: Path, *options: str) -> dict[str, Any]:
    ended = helix("import", str(path), "--json", *options)
    assert ended.code == 0, ended.stderr
    file: dict[str, Any] = ended.document["imports"][0]
    return file


def replay(helix: RunHelix, path: Path, change: Change = repaired, *options: str) -> Ended:
    exported = helix("quarantine", "export", "-o", str(path), "--force", "--json", *options)
    assert exported.code == 0, exported.stderr
    edit(path, change)
    return helix("quarantine", "replay", str(path), "--json")


def test_three_bad_rows_of_a_thousand_are_corrected_and_nothing_else_changes(
    runs: StagedRuns, helix: RunHelix, service: FakeEmbeddingService, tmp_path: Path
) -> None:
    stages, table = runs.stages, tmp_path / "bad.csv"
    path = stages.write(rows_of(1_000))
    first = imported(helix, path)
    assert len(stages.served()) == 997

    assert helix("quarantine", "export", "-o", str(table), "--json").document == {"file": str(table), "rows": 3}
    before = edit(table, repaired)
    assert [(row["helix_row"], row["helix_code"]) for row in before] == [
        ("17", "QUESTION_MISSING"),
        ("400", "ANSWER_MISSING"),
        ("801", "ANSWER_MISSING"),
    ]
    assert all(row["helix_reason"] and row["helix_hint"] for row in before)
    assert before[0]["answer"] == "Answer 17."
    assert before[0]["team"] == "team 2"

    ended = helix("quarantine", "replay", str(table), "--json")
    assert ended.code == 0, ended.stderr
    report = ended.document
    assert (report["corrected"], report["replayed"], report["unchanged"], report["still_faulty"]) == (3, 3, 0, [])
    assert report["batches"][0]["api"]["texts"] == 3
    assert len(stages.served()) == 1_000
    assert ("Question 801?", "=SUM(A1)") in stages.served()
    assert listed(helix) == []
    assert stages.violations() == []

    [replayed] = report["batches"][0]["imports"]
    assert {row["replayed_by"] for row in listed(helix, "--all")} == {replayed["import"]}
    status = helix("status", str(first["import"]), "--json").document
    assert (status["quarantined"], status["replayed"]) == (3, 3)
    assert "3 of 3 quarantined rows were corrected" in helix("status", str(first["import"])).stdout
    [hit] = helix("search", "What was missing?", "-k", "1", "--json").document["hits"]
    assert hit["sources"] == [{"path": str(path), "sheet": None, "row": 17}], "the place in the original file"
    assert_places_are_the_original_ones(stages, replayed["import"])
    assert_audited(stages, first["import"], replayed["import"])

    again = imported(helix, path)
    assert again["same_as"] == first["import"]
    assert listed(helix) == []
    synced = imported(helix, path, "--mode", "sync")
    assert (synced["unchanged"], synced["quarantined"], synced["status"]) == (997, 3, "completed_with_quarantine")
    assert len(stages.served()) == 1_000, "what was corrected is not gone from the file"
    assert listed(helix) == []
    assert stages.violations() == []


def assert_places_are_the_original_ones(stages: Stages, replayed: int) -> None:
    rows = stages.query("SELECT row_number FROM helix.occurrence WHERE import_job_id = %s ORDER BY 1", [replayed])
    assert [row["row_number"] for row in rows] == [17, 400, 801]


def assert_audited(stages: Stages, original: int, replayed: int) -> None:
    [line] = stages.query("SELECT actor, row_count, keys FROM helix.audit_log WHERE action = 'replay'")
    assert line["actor"] == "ada (helix)"
    assert line["keys"] == {"import": original, "replay": replayed, "rows": {"": "17,400,801"}}
    assert line["row_count"] == 3
    marked = stages.query(
        "SELECT keys, row_count FROM helix.audit_log WHERE table_name = 'import_row' AND action = 'update'"
        " AND (keys ->> 'import')::bigint = %s ORDER BY id DESC LIMIT 1",
        [original],
    )
    assert marked[0]["row_count"] == 3


def test_a_replay_replayed_again_changes_nothing(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})))
    first = replay(helix, tmp_path / "bad.csv").document["batches"][0]["imports"][0]
    served = runs.stages.served()
    again = helix("quarantine", "replay", str(tmp_path / "bad.csv"), "--json").document
    assert again["batches"][0]["imports"][0]["same_as"] == first["import"]
    assert runs.stages.served() == served
    assert runs.stages.violations() == []


def test_a_second_correction_of_a_row_updates_the_first(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})))
    replay(helix, tmp_path / "bad.csv")
    second = replay(helix, tmp_path / "bad.csv", lambda row: {**row, "question": "Better words?"}, "--all")
    assert second.document["batches"][0]["imports"][0]["updated"] == 1
    assert ("Better words?", "Answer 17.") in runs.stages.served()
    assert len(runs.stages.served()) == 20
    assert runs.stages.violations() == []


def test_rows_that_nobody_changed_or_that_are_still_faulty_stay(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    record = imported(helix, runs.stages.write(rows_of(900)))

    def change(row: dict[str, str]) -> dict[str, str]:
        if row["helix_row"] == "17":
            return row
        return {**row, "answer": "  "} if row["helix_row"] == "400" else repaired(row)

    report = replay(helix, tmp_path / "bad.csv", change).document
    assert (report["replayed"], report["unchanged"]) == (1, 1)
    [faulty] = report["still_faulty"]
    assert (faulty["import"], faulty["row"], faulty["code"]) == (record["import"], 400, "ANSWER_MISSING")
    assert [row["row"] for row in listed(helix)] == [17, 400]


def test_nothing_changed_is_said_and_no_batch_is_made(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})))
    ended = replay(helix, tmp_path / "bad.csv", lambda row: row)
    assert (ended.code, ended.document["batches"], ended.document["unchanged"]) == (0, [], 1)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("helix_row", "18", "is not in quarantine"),
        ("helix_import", "999", "is not in quarantine"),
        ("helix_sheet", "Other", "is not in quarantine"),
        ("helix_row", "", "do not say which row"),
        ("helix_row", "17", "there twice"),
    ],
)
def test_a_row_that_is_not_in_quarantine_stops_the_whole_replay(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path, column: str, value: str, words: str
) -> None:
    imported(helix, runs.stages.write(rows_of(500, {17: "question", 400: "answer"})))
    ended = replay(
        helix,
        tmp_path / "bad.csv",
        lambda row: {**repaired(row), column: value} if row["helix_row"] == "400" else repaired(row),
    )
    assert ended.code == 1
    assert ended.document["error"]["code"] == "REPLAY_ROWS_UNKNOWN"
    assert "row 2: " in ended.document["error"]["message"]
    assert words in ended.document["error"]["message"]
    assert len(listed(helix)) == 2
    assert list((tmp_path / "home" / "replays").iterdir()) == []


def test_a_text_that_the_service_refused_is_updated_and_no_second_pair_remains(
    runs: StagedRuns, helix: RunHelix, service: FakeEmbeddingService, tmp_path: Path
) -> None:
    service.set_faults(poison="poison")
    imported(
        helix, runs.stages.write([{"question": "What is poison?", "answer": "Bad.", "team": ""}, *rows_of(5, {})[1:]])
    )
    assert [row["code"] for row in listed(helix)] == ["EMBEDDING_TEXT_REFUSED"]
    report = replay(helix, tmp_path / "bad.csv", lambda row: {**row, "question": "What is bad?"}).document
    [line] = report["batches"][0]["imports"]
    assert (line["updated"], line["inserted"]) == (1, 0)
    assert ("What is bad?", "Bad.") in runs.stages.served()
    assert runs.stages.query("SELECT count(*) FROM helix.occurrence")[0]["count"] == 5
    assert listed(helix) == []
    assert runs.stages.violations() == []


def test_a_correction_that_the_service_refuses_again_is_corrected_again(
    runs: StagedRuns, helix: RunHelix, service: FakeEmbeddingService, tmp_path: Path
) -> None:
    service.set_faults(poison="poison")
    imported(helix, runs.stages.write([{"question": "What is poison?", "answer": "Bad."}, *ROWS]))
    replay(helix, tmp_path / "bad.csv", lambda row: {**row, "answer": "Still bad."})
    [row] = listed(helix)
    assert (row["row"], row["stage"]) == (1, "embedding")
    replay(helix, tmp_path / "bad.csv", lambda row: {**row, "question": "What is it?"}, "--all")
    assert ("What is it?", "Still bad.") in runs.stages.served()
    assert len(runs.stages.served()) == 3
    assert listed(helix) == []
    assert runs.stages.violations() == []


ROWS = [{"question": "How do I pay?", "answer": "By card."}, {"question": "Where are you?", "answer": "In Berlin."}]


def test_a_correction_continues_the_row_that_an_earlier_file_had(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    stages = runs.stages
    imported(helix, stages.write([{"id": "1", **ROWS[0]}, {"id": "2", **ROWS[1]}]), "--source", "faq")
    imported(
        helix,
        stages.write([{"id": "1", **ROWS[0]}, {"id": "2", "question": "Where?", "answer": ""}]),
        "--source",
        "faq",
    )
    report = replay(helix, tmp_path / "bad.csv", lambda row: {**row, "answer": "In Bonn."}).document
    assert report["batches"][0]["imports"][0]["updated"] == 1
    assert stages.served() == [("How do I pay?", "By card."), ("Where?", "In Bonn.")]


def test_a_correction_that_equals_another_row_of_the_file_is_a_row_of_its_own(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    imported(helix, runs.stages.write([*ROWS, {"question": "Where are you?", "answer": ""}]))
    report = replay(helix, tmp_path / "bad.csv", lambda row: {**row, "answer": "In Berlin."}).document
    assert report["batches"][0]["imports"][0]["duplicate"] == 1
    places = runs.stages.query("SELECT row_number FROM helix.occurrence ORDER BY 1")
    assert [place["row_number"] for place in places] == [1, 2, 3]
    assert runs.stages.violations() == []


def test_a_later_file_with_the_same_fault_counts_as_corrected(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    rows = rows_of(20, {17: "question"})
    imported(helix, runs.stages.write(rows), "--source", "faq")
    replay(helix, tmp_path / "bad.csv")
    later = [{"question": "New?", "answer": "Yes.", "team": "x"}, *rows[:5], *rows[6:]]
    synced = imported(helix, runs.stages.write(later), "--source", "faq", "--mode", "sync")
    assert (synced["inserted"], synced["unchanged"], synced["quarantined"]) == (1, 18, 1)
    assert ("What was missing?", "Answer 17.") in runs.stages.served()
    assert len(runs.stages.served()) == 20
    assert listed(helix) == []
    repaired_file = [{**row, "question": row["question"] or "Mended?"} for row in later]
    imported(helix, runs.stages.write(repaired_file), "--source", "faq", "--mode", "sync")
    assert ("Mended?", "Answer 17.") in runs.stages.served()
    assert ("What was missing?", "Answer 17.") not in runs.stages.served()
    assert runs.stages.violations() == []


def test_a_replay_that_was_killed_is_continued_by_the_same_command(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_MAX_RETRIES", "0")
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})))
    runs.endings += [die_before_embedding] * 2
    assert replay(helix, tmp_path / "bad.csv").code == 1
    assert len(listed(helix)) == 1, "it is not in yet"
    ended = helix("quarantine", "replay", str(tmp_path / "bad.csv"), "--json")
    assert (ended.code, ended.document["replayed"]) == (0, 1)
    assert len(set(runs.started)) == 2, "one batch for the import and one for the replay"
    assert listed(helix) == []


def test_rows_of_two_imports_of_a_source_are_replayed_one_after_the_other(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})), "--source", "faq")
    imported(
        helix, runs.stages.write([{"question": "More?", "answer": "", "team": ""}, *ROWS_OF_TEAMS]), "--source", "faq"
    )
    imported(
        helix,
        runs.stages.write([{"question": "", "answer": "Other.", "team": ""}, *ROWS_OF_TEAMS]),
        "--source",
        "other",
    )

    def change(row: dict[str, str]) -> dict[str, str]:
        return {**row, "question": row["question"] or "Filled?", "answer": row["answer"] or "Filled."}

    report = replay(helix, tmp_path / "bad.csv", change).document
    assert [len(batch["imports"]) for batch in report["batches"]] == [2, 1]
    assert report["replayed"] == 3
    assert listed(helix) == []
    assert runs.stages.violations() == []


ROWS_OF_TEAMS = rows_of(3, {})


def test_rows_of_an_import_that_is_not_finished_are_left_alone(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_MAX_RETRIES", "0")
    path = runs.stages.write(rows_of(20, {17: "question"}))
    runs.endings += [die_before_embedding] * 2
    helix("import", str(path), "--json")
    ended = replay(helix, tmp_path / "bad.csv")
    assert ended.code == 1
    assert "is not finished" in ended.document["error"]["message"]


def test_a_file_that_is_no_export_is_refused(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    path = runs.stages.write([{"title": "x", "text": "y"}, {"title": "z", "text": "y"}])
    ended = helix("quarantine", "replay", str(path), "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "NOT_AN_EXPORT")
    missing = helix("quarantine", "replay", str(tmp_path / "none.csv"), "--json")
    assert (missing.code, missing.document["error"]["code"]) == (2, "PATH_MISSING")


def test_a_file_of_corrections_is_no_file_to_import(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    imported(helix, runs.stages.write(rows_of(20, {17: "question"})))
    replay(helix, tmp_path / "bad.csv")
    [corrections] = (tmp_path / "home" / "replays").iterdir()
    assert corrections.stat().st_mode & 0o077 == 0
    assert json.loads(corrections.read_text().splitlines()[0])["helix_corrections"] == 1
    shutil.copy(corrections, tmp_path / "faq.jsonl")
    file = imported(helix, tmp_path / "faq.jsonl")
    assert (file["status"], file["error"]["code"]) == ("rejected", "CORRECTIONS_MISPLACED")


def test_a_workbook_is_corrected_and_replayed_like_a_csv(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    path, table = tmp_path / "faq.xlsx", tmp_path / "bad.xlsx"
    write_workbook(
        path,
        {"One": [["question", "answer"], ["Who?", "Me."], ["Why?", ""]], "Two": [["Frage", "Antwort"], ["", "=1"]]},
    )
    imported(helix, path)
    assert helix("quarantine", "export", "-o", str(table), "--json").document["rows"] == 2
    [header, *rows] = CalamineWorkbook.from_path(str(table)).get_sheet_by_index(0).to_python()
    lines = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(line["helix_sheet"], line["helix_row"], line["answer"]) for line in lines] == [
        ("One", "2", ""),
        ("Two", "1", "'=1"),
    ]
    for line in lines:
        line.update({"question": line["question"] or "What?", "answer": line["answer"] or "So."})
    write_workbook(table, {"corrected": [header, *(list(line.values()) for line in lines)]})
    ended = helix("quarantine", "replay", str(table), "--json")
    assert ended.code == 0, ended.stderr
    assert runs.stages.served() == [("What?", "=1"), ("Who?", "Me."), ("Why?", "So.")]
    assert listed(helix) == []
    assert runs.stages.violations() == []


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """A workbook of texts."""
    with xlsxwriter.Workbook(str(path), {"strings_to_formulas": False}) as workbook:
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
