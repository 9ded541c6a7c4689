from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.cli.output import readable
from helix_pipelines.cli.search import result_text
from helix_pipelines.serving.search import Hit, SearchResult, Source
from helix_pipelines_tests.cli.conftest import RunHelix, slow_modules_of, stderr_of
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import MODEL, Stages

ROWS = [
    {"question": "What is error E-4012?", "answer": "The card was declined."},
    {"question": "Where are you?", "answer": "In Berlin."},
]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEmbeddingService]:
    with running_fake(dimensions=16) as service:
        yield service


@pytest.fixture
def helix_with_pairs(
    helix_on_database: RunHelix,
    connection: psycopg.Connection,
    database_url: str,
    fake: FakeEmbeddingService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RunHelix]:
    stages = Stages(database_url, tmp_path, fake.url, collection="support")
    stages.run(ROWS)
    monkeypatch.setenv("HELIX_EMBEDDING_URL", fake.url)
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", MODEL)
    yield helix_on_database
    stages.database.close()


def test_hits_have_the_keys_of_the_contract(helix_with_pairs: RunHelix) -> None:
    ended = helix_with_pairs("search", "E-4012", "-k", "1", "--json")
    document = ended.document
    [hit] = document["hits"]
    assert ended.code == 0
    assert list(document) == ["mode", "hits"]
    assert document["mode"] == "hybrid"
    assert list(hit) == ["pair", "score", "question", "answer", "collection", "stale", "sources"]
    assert hit["question"] == "What is error E-4012?"
    assert [list(source) for source in hit["sources"]] == [["path", "sheet", "row"]]
    assert hit["sources"][0]["row"] == 1


@pytest.mark.usefixtures("helix_with_pairs")
def test_a_search_by_meaning_loads_nothing_slow(fake: FakeEmbeddingService) -> None:
    asked = fake.counters().requests
    assert slow_modules_of("search", "E-4012", "--json") == set()
    assert fake.counters().requests == asked + 1


@pytest.mark.usefixtures("helix_with_pairs")
def test_a_search_starts_and_ends_without_looking_for_garbage() -> None:
    script = (
        "import atexit, gc, sys\n"
        "looks = []\n"
        "atexit.register(lambda: print(len(looks), gc.get_freeze_count() > 10_000, file=sys.stderr))\n"
        "from helix_pipelines.cli import main\n"
        "gc.collect()\n"
        "gc.callbacks.append(lambda phase, info: looks.append(phase))\n"
        "sys.exit(main())"
    )
    assert stderr_of(script, "search", "E-4012", "--json") == "0 True\n"


def test_without_an_embedding_service_text_is_searched(
    helix_with_pairs: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_URL", "http://127.0.0.1:9/v1")
    ended = helix_with_pairs("search", "E-4012", "--json")
    assert ended.document["mode"] == "text_only"
    assert ended.document["hits"][0]["question"] == "What is error E-4012?"
    assert "EMBEDDING_UNREACHABLE" in ended.stderr


def test_a_service_that_hangs_costs_a_second(helix_with_pairs: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_fake(dimensions=16, latency=5.0) as hanging:
        monkeypatch.setenv("HELIX_EMBEDDING_URL", hanging.url)
        ended = helix_with_pairs("search", "E-4012", "--json")
    assert ended.document["mode"] == "text_only"
    assert "EMBEDDING_TIMEOUT" in ended.stderr


def test_another_model_than_the_knowledge_base_s_is_refused(
    helix_with_pairs: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", "another")
    ended = helix_with_pairs("search", "E-4012", "--json")
    assert ended.code == 1
    assert ended.document["error"]["code"] == "EMBEDDING_GENERATION_MISMATCH"


def test_another_size_than_the_knowledge_base_s_is_refused(
    helix_with_pairs: RunHelix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_DIMENSIONS", "8")
    ended = helix_with_pairs("search", "E-4012", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "EMBEDDING_GENERATION_MISMATCH")
    monkeypatch.setenv("HELIX_EMBEDDING_DIMENSIONS", "16")
    assert helix_with_pairs("search", "E-4012", "--json").document["mode"] == "hybrid"


@pytest.mark.parametrize("language", ["en", "EN", " En-us "])
def test_a_language_may_be_written_in_any_way(helix_with_pairs: RunHelix, language: str) -> None:
    ended = helix_with_pairs("search", "error", "--language", language, "--json")
    assert len(ended.document["hits"]) > 0
    assert ended.stderr == ""


def test_a_language_that_no_row_has_is_told(helix_with_pairs: RunHelix) -> None:
    ended = helix_with_pairs("search", "error", "--language", "FR", "--collection", "support", "--json")
    assert (ended.code, ended.document["hits"]) == (0, [])
    assert ended.stderr == "No row of collection 'support' is in the language 'fr'; its languages are en.\n"


def test_names_do_not_reach_the_terminal_as_orders(connection: psycopg.Connection) -> None:
    hit = Hit(1, 0.5, "Why\x1b[2J?", "So.\u202e", "sup\nport", stale=False, sources=[Source("a\x1b\n.csv", None, 1)])
    say_text = readable(result_text(SearchResult("hybrid", [hit]), width=60))
    assert "\x1b" not in say_text
    assert say_text.splitlines()[-1].strip() == r"sup\nport: a\x1b\n.csv:1"


def test_an_unknown_collection_is_wrong_use(helix_with_pairs: RunHelix) -> None:
    ended = helix_with_pairs("search", "E-4012", "--collection", "nosuch", "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "COLLECTION_UNKNOWN"


def test_people_see_rank_score_and_origin(helix_with_pairs: RunHelix) -> None:
    printed = helix_with_pairs("search", "E-4012", "-k", "1").stdout
    assert printed.startswith("  1. 0.")
    assert "faq.csv:1" in printed


def test_long_texts_are_wrapped_and_bounded() -> None:
    places = [Source(f"/data/{number}.xlsx", "Sheet 1", number) for number in range(1, 6)]
    hit = Hit(1, 0.5, "Why? " * 200, "Because. " * 500, "support", stale=True, sources=places)
    lines = result_text(SearchResult("hybrid", [hit]), width=60).splitlines()
    assert len(lines) <= 10
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-1].endswith("/data/3.xlsx [Sheet 1]:3, and 2 more (an update waits for its vector)")


def test_nothing_found_is_said() -> None:
    assert result_text(SearchResult("text_only", []), width=80) == "Nothing was found."
