from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines_tests.cli.conftest import RunHelix, slow_modules_of
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import Stages

ROWS = [
    {"question": "How do I pay?", "answer": "By card."},
    {"question": "No answer?", "answer": ""},
    {"question": "What is poison?", "answer": "A text that the service refuses."},
]


@pytest.fixture
def stages(
    connection: psycopg.Connection, database_url: str, service: FakeEmbeddingService, tmp_path: Path
) -> Iterator[Stages]:
    service.set_faults(poison="poison")
    stages = Stages(database_url, tmp_path, service.url, collection="support")
    yield stages
    stages.database.close()


def test_nothing_refused_is_said(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    assert "No row" in helix_on_database("quarantine", "list").stdout
    assert helix_on_database("quarantine", "list", "--json").document == {"rows": []}


def test_each_refused_row_is_named_by_file_and_number_with_its_reason(
    helix_on_database: RunHelix, stages: Stages
) -> None:
    record = stages.run(ROWS)
    rows = helix_on_database("quarantine", "list", "--json").document["rows"]
    assert [(row["stage"], row["row"], row["code"], row["import"]) for row in rows] == [
        ("parsing", 2, "ANSWER_MISSING", record["id"]),
        ("embedding", 3, "EMBEDDING_TEXT_REFUSED", record["id"]),
    ]
    assert rows[0]["raw"]
    assert rows[1]["question"] == "What is poison?"
    assert all(row["path"].endswith("faq.csv") and row["message"] for row in rows)
    printed = helix_on_database("quarantine", "list").stdout
    assert "ANSWER_MISSING" in printed
    assert "EMBEDDING_TEXT_REFUSED" in printed


def test_rows_are_chosen_by_stage_import_and_code(helix_on_database: RunHelix, stages: Stages) -> None:
    first = stages.run(ROWS)
    second = stages.run([{"question": "Another poison?", "answer": "Yes."}], "other.csv")

    def chosen(*options: str) -> list[tuple[int, int]]:
        rows = helix_on_database("quarantine", "list", "--json", *options).document["rows"]
        return [(row["import"], row["row"]) for row in rows]

    assert chosen("--stage", "embedding") == [(second["id"], 1), (first["id"], 3)]
    assert chosen("--import", str(first["id"])) == [(first["id"], 2), (first["id"], 3)]
    assert chosen("--code", "ANSWER_MISSING") == [(first["id"], 2)]
    assert chosen("--code", "NO_SUCH_CODE") == []


def test_an_unknown_stage_is_wrong_use(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix_on_database("quarantine", "list", "--stage", "cooking", "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "STAGE_UNKNOWN"


def test_rows_are_chosen_by_collection_source_and_column(helix_on_database: RunHelix, stages: Stages) -> None:
    stages.run([{"Frage": "Was?", "Antwort": ""}, {"Frage": "", "Antwort": "Ja."}], "faq.csv")
    (stages.folder / "torn").mkdir()
    (stages.folder / "torn" / "torn.csv").write_text("question,team,answer\nShort?\nHow?,x,So.\n", encoding="utf-8")
    stages.finish(stages.begin(stages.folder / "torn" / "torn.csv"))

    def chosen(*options: str) -> list[tuple[str, int]]:
        rows = helix_on_database("quarantine", "list", "--json", *options).document["rows"]
        return [(row["source"], row["row"]) for row in rows]

    assert chosen("--source", "faq.csv") == [("faq.csv", 1), ("faq.csv", 2)]
    assert chosen("--collection", "support", "--source", "torn.csv") == [("torn.csv", 1)]
    assert chosen("--collection", "other") == []
    assert chosen("--column", "Antwort") == [("faq.csv", 1)]
    assert chosen("--column", "answer") == [("torn.csv", 1), ("faq.csv", 1)]
    assert chosen("--column", "team") == []


def test_every_row_has_a_hint_and_what_was_read_of_it(helix_on_database: RunHelix, stages: Stages) -> None:
    stages.run(ROWS)
    parsing, embedding = helix_on_database("quarantine", "list", "--json").document["rows"]
    assert parsing["hint"] == "Fill in the answer."
    assert parsing["question"] == "No answer?"
    assert "Reword" in embedding["hint"]


def test_the_same_bytes_again_have_the_rows_of_the_first_import(helix_on_database: RunHelix, stages: Stages) -> None:
    path = stages.write(ROWS)
    first = stages.finish(stages.begin(path))
    again = stages.finish(stages.begin(path))
    assert again["same_as"] == first["id"]
    rows = helix_on_database("quarantine", "list", "--import", str(again["id"]), "--json").document["rows"]
    assert [row["row"] for row in rows] == [2, 3]


def test_a_text_that_cannot_be_embedded_is_listed_where_it_was_decided_last(
    helix_on_database: RunHelix, stages: Stages
) -> None:
    stages.run(ROWS[2:])
    second = stages.run([{"question": "New?", "answer": "Yes."}, *ROWS[2:]])
    [row] = helix_on_database("quarantine", "list", "--json").document["rows"]
    assert (row["import"], row["row"]) == (second["id"], 2)
    stages.run([{"question": "New?", "answer": "Yes."}, {**ROWS[2], "answer": "Mended.", "question": "What is it?"}])
    stages.run([{"question": "New?", "answer": "Yes."}], mode="sync", settings=BatchSettings(drop_limit=1))
    assert helix_on_database("quarantine", "list", "--json").document["rows"] == []


@pytest.mark.usefixtures("helix_on_database", "connection")
def test_listing_loads_nothing_slow() -> None:
    assert slow_modules_of("quarantine", "list") == set()


def test_the_usual_words_say_how_the_export_went(helix_on_database: RunHelix, stages: Stages, tmp_path: Path) -> None:
    assert "no file was written" in helix_on_database("quarantine", "export").stdout
    stages.run(ROWS)
    assert "helix quarantine replay quarantine.xlsx" in helix_on_database("quarantine", "export").stdout
    assert (tmp_path / "quarantine.xlsx").is_file()
    again = helix_on_database("quarantine", "export", "--json")
    assert (again.code, again.document["error"]["code"]) == (2, "FILE_EXISTS")
    ended = helix_on_database("quarantine", "replay", "quarantine.xlsx")
    assert ended.code == 0
    assert "0 of 0 corrected rows are in; 2 rows were not changed" in ended.stdout
