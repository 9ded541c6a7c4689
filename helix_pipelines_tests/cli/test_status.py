from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.storage import reports
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines_tests.cli.conftest import RunHelix
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import Stages

ROWS = [
    {"question": "How do I pay?", "answer": "By card."},
    {"question": "Where are you?", "answer": "In Berlin."},
    {"question": "No answer?", "answer": ""},
]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEmbeddingService]:
    with running_fake(dimensions=16) as service:
        yield service


@pytest.fixture
def stages(
    connection: psycopg.Connection, database_url: str, fake: FakeEmbeddingService, tmp_path: Path
) -> Iterator[Stages]:
    stages = Stages(database_url, tmp_path, fake.url, collection="support")
    yield stages
    stages.database.close()


def batch_of(stages: Stages) -> str:
    return str(stages.query("SELECT partition_key FROM helix.import_batch ORDER BY id DESC")[0]["partition_key"])


def test_an_empty_database_says_what_to_do(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix_on_database("status")
    assert ended.code == 0
    assert "helix import" in ended.stdout
    assert helix_on_database("status", "--json").document == {"batches": [], "collections": [], "generation": None}


def test_the_overview_has_batches_collections_and_texts(helix_on_database: RunHelix, stages: Stages) -> None:
    stages.run(ROWS)
    document = helix_on_database("status", "--json").document
    [batch], [collection] = document["batches"], document["collections"]
    assert (batch["state"], batch["files"], batch["inserted"], batch["quarantined"]) == ("done", 1, 2, 1)
    assert collection == {"collection": "support", "sources": 1, "rows": 2, "searchable": 2, "stale": 0}
    assert (document["generation"]["completed"], document["generation"]["failed"]) == (2, 0)
    assert "2 texts embedded" in helix_on_database("status").stdout


def test_the_overview_lists_the_latest_batches_only(stages: Stages, connection: psycopg.Connection) -> None:
    keys = [stages.begin(stages.write(ROWS)) for _ in range(3)]
    assert [line["batch"] for line in reports.overview(connection, batches=2)["batches"]] == [keys[2], keys[1]]


def test_a_batch_shows_its_files_and_where_the_time_went(helix_on_database: RunHelix, stages: Stages) -> None:
    stages.run(ROWS)
    document = helix_on_database("status", batch_of(stages), "--json").document
    assert document["state"] == "done"
    assert document["progress"] is None
    assert document["imports"][0]["embedded"] == 2
    assert list(document["seconds"]) == ["source_files", "parsed_rows", "qa_pairs", "embeddings", "knowledge_base"]
    assert "faq.csv" in helix_on_database("status", batch_of(stages)).stdout


def test_an_import_shows_its_file(helix_on_database: RunHelix, stages: Stages) -> None:
    number = str(stages.run(ROWS)["id"])
    document = helix_on_database("status", number, "--json").document
    assert (document["status"], document["collection"], document["format"]) == (
        "completed_with_quarantine",
        "support",
        "csv",
    )
    assert document["sha256"] in helix_on_database("status", number).stdout


def test_a_running_batch_tells_how_far_it_is(
    helix_on_database: RunHelix, stages: Stages, connection: psycopg.Connection
) -> None:
    key = stages.begin(stages.write(ROWS))
    stages.decide(key)
    stages.embed(key)
    connection.execute(
        "UPDATE helix.embedding SET state = 'pending', vector = NULL WHERE text_hash ="
        " (SELECT text_hash FROM helix.embedding LIMIT 1)"
    )
    connection.execute(
        "UPDATE helix.phase_run SET state = 'running', finished_at = NULL, started_at = now() - interval '10 s'"
        " WHERE phase = 'embeddings'"
    )
    connection.execute("UPDATE helix.import_batch SET lease_expires_at = now() + interval '20 s'")
    progress = helix_on_database("status", key, "--json").document["progress"]
    assert (progress["phase"], progress["unit"], progress["done"], progress["total"]) == ("embeddings", "texts", 1, 2)
    assert progress["eta_seconds"] == pytest.approx(10, abs=2)
    assert "embeddings: 1 of 2 texts, about" in helix_on_database("status", key).stdout


def test_an_attempt_that_died_does_not_count_for_ever(stages: Stages, connection: psycopg.Connection) -> None:
    key = stages.begin(stages.write(ROWS))
    stages.decide(key)
    connection.execute("UPDATE helix.import_batch SET state = 'error', lease_expires_at = now() - interval '1 h'")
    connection.execute(
        "UPDATE helix.phase_run SET state = 'running', finished_at = NULL, started_at = now() - interval '1 h 5 s'"
        " WHERE phase = 'qa_pairs'"
    )
    report = reports.batch_status(connection, key)
    assert report is not None
    assert report["seconds"]["qa_pairs"] == pytest.approx(5, abs=1)
    assert report["progress"] is None


def test_texts_that_failed_are_counted_by_the_rows_they_belong_to(
    stages: Stages, connection: psycopg.Connection
) -> None:
    stages.run([*ROWS, ROWS[0]])
    connection.execute(
        "UPDATE helix.embedding SET state = 'failed', vector = NULL, error_code = 'X' WHERE text_hash ="
        " (SELECT text_hash FROM helix.passage WHERE body LIKE '%%pay%%')"
    )
    [file] = reports.import_report(connection, batch_of(stages))["imports"]
    assert (file["duplicate"], file["embedded"], file["failed_embeddings"]) == (1, 1, 2)


@pytest.mark.parametrize("which", ["nosuch", "999999"])
def test_an_unknown_batch_or_import_is_wrong_use(
    helix_on_database: RunHelix, connection: psycopg.Connection, which: str
) -> None:
    ended = helix_on_database("status", which, "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "UNKNOWN"


def test_a_schema_of_another_version_is_refused(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE helix.alembic_version SET version_num = '9999'")
    try:
        ended = helix_on_database("status", "--json")
    finally:
        connection.execute("UPDATE helix.alembic_version SET version_num = %s", [HEAD])
    assert ended.code == 1
    assert ended.document["error"]["code"] == "SCHEMA_TOO_NEW"
