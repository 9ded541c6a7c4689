from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helix_pipelines.resilience.gate_limits import gate_key
from helix_pipelines_tests.cli.conftest import RunHelix
from helix_pipelines_tests.cli.staged_runs import StagedRuns
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.rehearsal.foretelling import nothing_changed
from helix_pipelines_tests.stages import MODEL, Stages

OUTSIDE = "https://embedding.example/v1"
FIGURES = ("rows_read", "inserted", "updated", "unchanged", "duplicate", "quarantined")
FILE_KEYS = [
    *("path", "source", "collection", "status", "error", "same_as", "format", "encoding", *FIGURES),
    *("conflicts", "vanished", "closed", "notes", "quarantine"),
]
ROWS = [
    {"question": "How do I pay?", "answer": "By card."},
    {"question": "Where are you?", "answer": "In Berlin."},
    {"question": "When do you open?", "answer": "At nine."},
]
FAULTY = {"question": "No answer?", "answer": ""}


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
    return runs


def dry(helix: RunHelix, path: Path, *options: str) -> dict[str, Any]:
    ended = helix("import", str(path), "--dry-run", "--json", *options)
    assert ended.code == 0, ended.stderr
    document: dict[str, Any] = ended.document
    return document


def test_the_report_has_the_keys_of_the_contract_in_their_order(runs: StagedRuns, helix: RunHelix) -> None:
    path = runs.stages.write([*ROWS, FAULTY])
    with nothing_changed(runs.stages.url):
        report = dry(helix, path)
    [file] = report["imports"]
    assert list(report) == ["dry_run", "imports", "api", "seconds"]
    assert report["dry_run"] is True
    assert list(file) == FILE_KEYS
    assert (file["path"], file["source"], file["collection"]) == (str(path), "faq.csv", "default")
    assert [file[name] for name in FIGURES] == [4, 3, 0, 0, 0, 1]
    assert file["quarantine"] == [
        {"code": "ANSWER_MISSING", "count": 1, "rows": [4], "reason": file["quarantine"][0]["reason"]}
    ]
    assert list(report["api"]) == ["requests", "texts", "tokens", "cost"]
    assert (report["api"]["requests"], report["api"]["texts"]) == (1, 3)
    assert report["seconds"] is None, "nothing limits a service on this machine"
    assert runs.started == []


def test_a_person_reads_what_would_happen_and_that_nothing_has(runs: StagedRuns, helix: RunHelix) -> None:
    helix("import", str(runs.stages.write(ROWS)), "--source", "faq")
    changed = [ROWS[0], {**ROWS[1], "answer": "In Hamburg."}, FAULTY]
    ended = helix("import", str(runs.stages.write(changed)), "--source", "faq", "--dry-run")
    assert ended.code == 0
    assert ended.stdout.startswith("Dry run: this is what the import would do. Nothing was changed, stored or sent.")
    assert "faq: 1 x ANSWER_MISSING (row 3): " in ended.stdout
    assert "1 texts would be embedded in 1 requests" in ended.stdout


def test_nothing_is_left_in_the_home_and_no_request_is_sent(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path, service: FakeEmbeddingService
) -> None:
    dry(helix, runs.stages.write(ROWS))
    assert not (tmp_path / "home").exists()
    assert service.counters().requests == 0


def test_the_rows_of_a_file_are_foretold_as_the_folders_rules_have_them_read(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "helix.toml").write_text('collection = "shop"\nmode = "sync"\n', encoding="utf-8")
    runs.stages.write(ROWS).rename(folder / "faq.csv")
    helix("import", str(folder))
    runs.stages.write(ROWS[:2]).rename(folder / "faq.csv")
    [file] = dry(helix, folder)["imports"]
    assert (file["collection"], file["error"]["code"]) == ("shop", "SYNC_DROP_LIMIT")


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 3)])
def test_refused_input_fails_a_strict_rehearsal_only(
    runs: StagedRuns, helix: RunHelix, options: tuple[str, ...], code: int
) -> None:
    path = runs.stages.write([*ROWS, FAULTY])
    assert helix("import", str(path), "--dry-run", *options).code == code
    empty = path.with_name("empty.csv")
    empty.touch()
    assert helix("import", str(empty), "--dry-run", *options).code == code


def test_wrong_use_is_refused_as_for_an_import(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    assert helix("import", str(tmp_path / "none.csv"), "--dry-run").code == 2
    ended = helix("import", str(runs.stages.write(ROWS)), "--dry-run", "--no-wait")
    assert (ended.code, ended.stderr.partition(":")[0]) == (2, "OPTIONS_CONFLICT")


def test_a_model_that_the_knowledge_base_does_not_have_is_told_before_the_import(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = runs.stages.write(ROWS)
    helix("import", str(path))
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", "another")
    ended = helix("import", str(path), "--dry-run", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "EMBEDDING_GENERATION_MISMATCH")


def test_time_and_cost_are_those_of_the_settings_limits_and_price(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_URL", OUTSIDE)
    monkeypatch.setenv("HELIX_EMBEDDING_PRICES", f"{MODEL}=2.0")
    path = runs.stages.write([{"question": f"{n}?", "answer": "yes"} for n in range(1_000)])
    report = dry(helix, path)
    assert report["seconds"] == 5.0, "five requests at one a second"
    assert report["api"]["cost"] == pytest.approx(report["api"]["tokens"] * 2e-6)
    monkeypatch.setenv("HELIX_EMBEDDING_TPM", "600")
    report = dry(helix, path)
    assert report["seconds"] == pytest.approx(report["api"]["tokens"] / 10, abs=0.1)


def test_an_operators_limit_wins_over_the_settings(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_URL", OUTSIDE)
    connection.execute(
        "INSERT INTO helix.gate (key_hash, service, requests_per_minute, max_concurrency, chosen_requests_per_minute)"
        " VALUES (%s, 'embedding', 600, 5, 6)",
        [gate_key(OUTSIDE, None)],
    )
    assert dry(helix, runs.stages.write(ROWS))["seconds"] == 10.0


def test_the_local_embedder_is_not_started_and_its_pace_is_known(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HELIX_EMBEDDING_URL")
    monkeypatch.delenv("HELIX_EMBEDDING_MODEL")
    path = runs.stages.write([{"question": f"{n}?", "answer": "yes"} for n in range(250)])
    report = dry(helix, path)
    assert report["api"]["requests"] == 8, "32 texts a request"
    assert 5 <= report["seconds"] <= 30
    assert not (tmp_path / "home" / "embedder").exists()


def test_rows_that_were_corrected_after_an_earlier_import_are_not_told_as_vanished(
    runs: StagedRuns, helix: RunHelix, tmp_path: Path
) -> None:
    many = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(10)]
    helix("import", str(runs.stages.write([*many, FAULTY])), "--source", "faq")
    exported = tmp_path / "bad.csv"
    helix("quarantine", "export", "-o", str(exported))
    fill_in(exported, lambda row: {**row, "answer": "There is one."})
    assert helix("quarantine", "replay", str(exported)).code == 0
    later = runs.stages.write([*many[1:], FAULTY, {"question": "New?", "answer": "Yes."}])
    options = ("--source", "faq", "--mode", "sync")
    [told] = dry(helix, later, *options)["imports"]
    [done] = helix("import", str(later), "--json", *options).document["imports"]
    assert [told[name] for name in FIGURES] == [done[name] for name in FIGURES] == [11, 1, 0, 9, 0, 1]
    assert (told["vanished"], told["closed"]) == (1, 1)


def fill_in(path: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = [change(row) for row in reader]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(rows)
