from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.cli import import_run
from helix_pipelines.cli.imports import exit_code
from helix_pipelines_tests.cli.conftest import RunHelix
from helix_pipelines_tests.cli.staged_runs import StagedRuns, defer, die_before_embedding
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import MODEL, Stages

REPORT_KEYS = ["batch", "run_id", "status", "imports", "api", "seconds"]
FILE_KEYS = [
    *(
        "import",
        "path",
        "source",
        "status",
        "error",
        "same_as",
        "sha256",
        "format",
        "encoding",
        "rows_read",
        "inserted",
    ),
    *("updated", "unchanged", "duplicate", "quarantined", "pending", "embedded", "failed_embeddings", "notes"),
]
ROWS = [
    {"question": "How do I pay?", "answer": "By card."},
    {"question": "Where are you?", "answer": "In Berlin."},
    {"question": "When do you open?", "answer": "At nine."},
]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEmbeddingService]:
    with running_fake(dimensions=16) as service:
        yield service


@pytest.fixture
def stages(
    connection: psycopg.Connection, database_url: str, fake: FakeEmbeddingService, tmp_path: Path
) -> Iterator[Stages]:
    stages = Stages(database_url, tmp_path, fake.url)
    yield stages
    stages.database.close()


@pytest.fixture
def runs(stages: Stages, helix_on_database: RunHelix, monkeypatch: pytest.MonkeyPatch) -> StagedRuns:
    runs = StagedRuns(stages)
    monkeypatch.setattr("helix_pipelines.instance.dagster_runs.RunStarter", runs)
    monkeypatch.setenv("HELIX_EMBEDDING_URL", stages.service)
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", MODEL)
    return runs


def test_the_report_has_the_keys_of_the_contract_in_their_order(runs: StagedRuns, helix: RunHelix) -> None:
    path = runs.stages.write([*ROWS, {"question": "No answer?", "answer": ""}])
    ended = helix("import", str(path), "--json")
    report = ended.document
    [file] = report["imports"]
    assert ended.code == 0
    assert list(report) == REPORT_KEYS
    assert report["status"] == "done"
    assert list(file) == FILE_KEYS
    assert file["path"] == str(path)
    assert file["status"] == "completed_with_quarantine"
    assert [file[key] for key in FILE_KEYS[9:]] == [4, 3, 0, 0, 0, 1, 0, 3, 0, []]
    assert report["api"]["texts"] == 3
    assert set(report["api"]) == {"requests", "texts", "tokens", "cost"}
    assert list(report["seconds"]) == ["source_files", "parsed_rows", "qa_pairs", "embeddings", "knowledge_base"]


def test_refused_rows_fail_a_strict_import_only(runs: StagedRuns, helix: RunHelix) -> None:
    path = runs.stages.write([*ROWS, {"question": "No answer?", "answer": ""}])
    assert helix("import", str(path), "--strict").code == 3
    assert helix("import", str(path)).code == 0


def test_a_rejected_file_is_reported_beside_its_neighbours(runs: StagedRuns, helix: RunHelix, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    runs.stages.write(ROWS).rename(folder / "good.csv")
    (folder / "bad.csv").write_bytes(b"")
    ended = helix("import", str(folder), "--json", "--strict")
    bad, good = ended.document["imports"]
    assert ended.code == 3
    assert (bad["status"], good["status"]) == ("rejected", "completed")
    assert set(bad["error"]) == {"code", "message"}
    assert bad["rows_read"] == bad["embedded"] == 0


def test_the_same_file_again_reads_no_rows_and_counts_as_embedded(runs: StagedRuns, helix: RunHelix) -> None:
    path = runs.stages.write(ROWS)
    first = helix("import", str(path), "--json").document["imports"][0]
    report = helix("import", str(path), "--json").document
    [file] = report["imports"]
    assert file["same_as"] == first["import"]
    assert (file["unchanged"], file["embedded"]) == (3, 3)
    assert report["api"]["texts"] == 0


def test_a_run_that_died_is_followed_by_another_one(runs: StagedRuns, helix: RunHelix) -> None:
    runs.endings.append(die_before_embedding)
    ended = helix("import", str(runs.stages.write(ROWS)), "--json")
    assert ended.code == 0
    assert ended.document["imports"][0]["embedded"] == 3
    assert len(runs.started) == 2


def test_runs_that_die_without_progress_are_an_error_and_the_same_command_continues(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_MAX_RETRIES", "0")
    path = runs.stages.write(ROWS)
    runs.endings += [die_before_embedding] * 2
    ended = helix("import", str(path), "--json")
    assert ended.code == 1
    assert ended.document["status"] == "error"
    assert ended.document["error"]["code"] == "RUN_WORKER_LOST"
    assert ended.document["imports"][0]["status"] == "pending"

    again = helix("import", str(path), "--json")
    assert again.code == 0
    assert again.document["batch"] == ended.document["batch"]
    assert again.document["imports"][0]["embedded"] == 3
    assert "Resuming batch" in again.stderr


def test_a_failed_run_tells_code_and_message(runs: StagedRuns, helix: RunHelix) -> None:
    def fail(these: StagedRuns, batch: str, run_id: str) -> int:
        these.stages.decide(batch, run_id)
        these.end(batch, "error", '{"code": "KEY_REFUSED", "message": "Set another key.", "step": "embeddings"}')
        return 1

    runs.endings.append(fail)
    ended = helix("import", str(runs.stages.write(ROWS)), "--json")
    assert ended.code == 1
    assert ended.document["error"] == {"code": "KEY_REFUSED", "message": "Set another key."}


def test_changed_bytes_are_not_taken_for_the_unfinished_file(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = runs.stages.write(ROWS)
    monkeypatch.setenv("HELIX_MAX_RETRIES", "0")
    runs.endings += [die_before_embedding] * 2
    first = helix("import", str(path), "--json").document
    path.write_text(path.read_text(encoding="utf-8").replace("nine", "ten"), encoding="utf-8")
    second = helix("import", str(path), "--json").document
    assert second["status"] == "done"
    assert second["batch"] != first["batch"]


def test_a_deferred_batch_is_tried_again_until_it_is_done(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "DEFERRAL_POLL_SECONDS", 0.01)
    runs.endings += [defer, defer]
    ended = helix("import", str(runs.stages.write(ROWS)), "--json")
    assert ended.document["status"] == "done"
    assert len(runs.started) == 3


def test_patience_with_a_deferred_batch_ends(
    runs: StagedRuns, helix: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "DEFERRAL_POLL_SECONDS", 0.06)
    monkeypatch.setenv("HELIX_PHASE_TIMEOUT", "0.05")
    runs.endings += [defer] * 9
    ended = helix("import", str(runs.stages.write(ROWS)), "--json")
    assert ended.code == 4
    assert ended.document["status"] == "deferred"


def test_a_batch_that_another_run_works_on_is_followed(
    runs: StagedRuns, helix: RunHelix, connection: psycopg.Connection
) -> None:
    path = runs.stages.write(ROWS)
    batch = runs.stages.begin(path)
    connection.execute("UPDATE helix.collection SET name = 'default'")
    runs.stages.decide(batch, "another-run")
    runs.stages.embed(batch, "another-run")
    connection.execute("UPDATE helix.import_batch SET lease_expires_at = now() + interval '20 seconds'")
    finishing = threading.Timer(0.5, lambda: runs.stages.publish(batch, "another-run"))
    finishing.start()
    ended = helix("import", str(path), "--json")
    finishing.join()
    assert ended.document["status"] == "done"
    assert ended.document["run_id"] == "another-run"
    assert runs.started == []


def test_ctrl_c_stops_the_run_and_leaves_the_batch_paused(
    runs: StagedRuns, helix: RunHelix, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    runs.endings.append(die_before_embedding)
    monkeypatch.setattr(import_run, "_wait", interrupted)
    ended = helix("import", str(runs.stages.write(ROWS)), "--json")
    assert (ended.code, ended.document["status"]) == (4, "paused")
    assert connection.execute("SELECT state FROM helix.import_batch").fetchone() == ("paused",)


def test_without_waiting_the_batch_is_queued(runs: StagedRuns, helix: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix("import", str(runs.stages.write(ROWS)), "--no-wait", "--json")
    assert ended.code == 0
    assert list(ended.document) == REPORT_KEYS
    assert ended.document["status"] == "deferred"
    assert runs.started == []
    assert connection.execute("SELECT state, position FROM helix.import_batch").fetchone() == ("queued", 1)


def test_a_queued_file_that_is_wanted_now_is_taken_from_the_queue(runs: StagedRuns, helix: RunHelix) -> None:
    path = runs.stages.write(ROWS)
    queued = helix("import", str(path), "--no-wait", "--json").document
    done = helix("import", str(path), "--json").document
    assert done["batch"] == queued["batch"]
    assert done["status"] == "done"


def test_options_reach_the_import(runs: StagedRuns, helix: RunHelix, connection: psycopg.Connection) -> None:
    path = runs.stages.write([{"Frage": "Wo?", "Antwort": "Hier.", "x": "y"}])
    helix(
        *("import", str(path), "--collection", "hilfe", "--source", "faq", "--mode", "sync", "--encoding", "UTF8"),
        *("--map", "question=Frage,answer=Antwort"),
    )
    assert connection.execute(
        "SELECT c.name, s.name, j.mode, j.mapping, j.state FROM helix.import_job j JOIN helix.source s ON s.id = j.source_id"
        " JOIN helix.collection c ON c.id = s.collection_id"
    ).fetchall() == [("hilfe", "faq", "sync", {"question": "Frage", "answer": "Antwort"}, "completed")]


def test_people_read_a_summary(runs: StagedRuns, helix: RunHelix) -> None:
    ended = helix("import", str(runs.stages.write(ROWS)))
    assert ": done" in ended.stdout
    assert "faq.csv" in ended.stdout
    assert "3 texts embedded" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nosuch.csv"], "PATH_MISSING"),
        ([sys.executable, "--mode", "replace"], "MODE_UNKNOWN"),
        ([sys.executable, "--encoding", "klingon"], "ENCODING_UNKNOWN"),
        ([sys.executable, "--encoding", "base64"], "ENCODING_UNKNOWN"),
        ([sys.executable, "--collection", " "], "OPTION_BLANK"),
        ([sys.executable, "--map", "frage=x"], "MAPPING_INVALID"),
    ],
)
def test_wrong_use_is_found_before_anything_is_started(helix: RunHelix, arguments: list[str], code: str) -> None:
    ended = helix("import", *arguments, "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == code


@pytest.mark.parametrize(
    ("status", "file", "strict", "expected"),
    [
        ("done", {"status": "completed", "quarantined": 0}, True, 0),
        ("done", {"status": "rejected", "quarantined": 0}, False, 0),
        ("done", {"status": "rejected", "quarantined": 0}, True, 3),
        ("done", {"status": "failed", "quarantined": 0}, False, 1),
        ("error", {"status": "pending", "quarantined": 0}, False, 1),
        ("paused", {"status": "pending", "quarantined": 0}, True, 4),
    ],
)
def test_the_exit_code_says_how_it_ended(status: str, file: dict[str, object], strict: bool, expected: int) -> None:
    assert exit_code({"status": status, "imports": [file]}, strict=strict) == expected
