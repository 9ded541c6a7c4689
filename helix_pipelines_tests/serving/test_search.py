from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines.serving.ranking import Candidate, rank_by_text, rank_hybrid
from helix_pipelines.serving.search import Source, search
from helix_pipelines_tests.serving.knowledge import KnowledgeBase, axis

ODD = np.array(axis(7), dtype=np.float32)
"""A query that is like none of the vectors."""


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def pairs(connection: psycopg.Connection) -> dict[str, int]:
    base = KnowledgeBase(connection)
    for number in range(60):
        base.add(f"Filler about subject {number}", "Nothing else.", axis(6, towards=5, share=number / 200), row=number)
    return {
        "refund": base.add("How do I get my money back?", "Within 14 days.", axis(0), category="money", row=3),
        "password": base.add("I cannot log in", "Reset your password.", axis(1), language="en", sheet="Sheet 2", row=9),
        "code": base.add("What does error ERR-4102 mean?", "The disk is full.", axis(2), source="errors.csv"),
        "other code": base.add("What does error ERR-4103 mean?", "The disk is missing.", axis(2), source="errors.csv"),
        "tower": base.add(
            "東京タワーの高さは何メートルですか。", "333メートルです。", axis(3), collection="japan", language="ja"
        ),
        "who": base.add("世界卫生组织的总部在哪里?", "在日内瓦。", axis(4), collection="china", language="zh"),
        "bare": base.add("A pair without a vector: xylophone", "None yet."),
    }


def found(connection: psycopg.Connection, text: str, vector: object = None, **filters: str) -> list[int]:
    return [hit.pair for hit in search(connection, text, vector, **filters).hits]  # type: ignore[arg-type]


def test_a_paraphrase_is_found_by_its_vector(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    result = search(connection, "I want a reimbursement", np.array(axis(0, 1, 0.2), dtype=np.float32), k=3)
    assert result.mode == "hybrid"
    assert result.hits[0].pair == pairs["refund"]
    assert len(result.hits) == 3
    assert all(0 <= hit.score <= 1 for hit in result.hits)


def test_without_a_vector_full_text_answers(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    result = search(connection, "money back", None)
    assert result.mode == "text_only"
    assert [hit.pair for hit in result.hits] == [pairs["refund"]]
    assert result.hits[0].score == 1


def test_an_exact_code_wins_whatever_the_vector_says(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    assert found(connection, "ERR-4102", ODD)[0] == pairs["code"]
    assert found(connection, "please tell me what ERR-4103 is", ODD)[0] == pairs["other code"]


@pytest.mark.parametrize(
    ("part", "pair"), [("東京タワー", "tower"), ("高さ", "tower"), ("卫生组织", "who"), ("卫", "who")]
)
def test_a_part_of_a_japanese_or_chinese_text_finds_it(
    connection: psycopg.Connection, pairs: dict[str, int], part: str, pair: str
) -> None:
    assert found(connection, part) == [pairs[pair]]
    assert found(connection, part, ODD)[0] == pairs[pair]


def test_a_pair_without_a_vector_is_found_by_its_words(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    assert found(connection, "xylophone", ODD)[0] == pairs["bare"]


def test_filters_narrow_both_halves(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    assert found(connection, "disk", ODD, collection="japan") == [pairs["tower"]]
    assert found(connection, "disk", ODD, category="money") == [pairs["refund"]]
    assert found(connection, "disk", ODD, language="zh") == [pairs["who"]]
    assert set(found(connection, "disk", source="errors.csv")) == {pairs["code"], pairs["other code"]}
    assert found(connection, "disk", language="zh") == []


def test_a_hit_says_where_it_is_from(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    hit = search(connection, "password", None).hits[0]
    assert (hit.question, hit.answer, hit.collection, hit.stale) == (
        "I cannot log in", "Reset your password.", "default", False,
    )  # fmt: skip
    assert hit.sources == [Source("/inbox/faq.csv", "Sheet 2", 9)]


def test_a_common_query_still_finds_something(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    assert len(found(connection, "subject")) == 10


def test_a_query_of_signs_only_finds_nothing_by_text(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    assert found(connection, "' \\ : & | !") == []
    assert found(connection, "%s {x} '); --", ODD)


@pytest.mark.parametrize("k", [0, 101])
def test_a_senseless_search_is_refused(connection: psycopg.Connection, pairs: dict[str, int], k: int) -> None:
    with pytest.raises(UsageError, match="SEARCH_INVALID"):
        search(connection, "x", None, k=k)
    with pytest.raises(UsageError, match="SEARCH_INVALID"):
        search(connection, "  ", None)


def test_an_unknown_collection_or_source_is_named(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"COLLECTION_UNKNOWN.*default, japan, china"):
        search(connection, "x", None, collection="nosuch")
    with pytest.raises(UsageError, match="SOURCE_UNKNOWN"):
        search(connection, "x", None, source="nosuch")


def test_a_vector_of_another_size_is_refused(connection: psycopg.Connection, pairs: dict[str, int]) -> None:
    with pytest.raises(SetupError, match="EMBEDDING_GENERATION_MISMATCH"):
        search(connection, "x", [1.0, 0.0])


def test_only_served_pairs_are_found_each_once_with_all_rows(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        base = KnowledgeBase(connection)
        gone = base.add("The closed pair", "Old.", axis(0))
        kept = base.add("The kept pair", "New.", axis(1), row=1)
        assert base.add("The kept pair", "New.", axis(1), row=5) == kept
        connection.execute("UPDATE helix.occurrence SET served_pair_id = NULL WHERE pair_id = %s", [gone])
        connection.execute("UPDATE helix.occurrence SET stale = true WHERE pair_id = %s", [kept])
        for vector in (None, axis(0)):
            hits = search(connection, "pair", vector).hits
            assert [hit.pair for hit in hits] == [kept]
            assert [place.row for place in hits[0].sources] == [1, 5]
            assert hits[0].stale


def test_an_empty_knowledge_base_has_no_hits(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        assert search(connection, "anything", axis(0)).mode == "text_only"
        assert search(connection, "anything", None).hits == []


def test_the_module_needs_neither_numpy_nor_sqlalchemy() -> None:
    script = "import sys, helix_pipelines.serving.search; print({'numpy', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def candidate(pair: int, similarity: float | None, shared: float, codes: float = 0.0, terms: int = 10) -> Candidate:
    return Candidate(pair, similarity, shared, codes, terms)


def test_shared_words_decide_between_alike_similarities_and_no_more() -> None:
    alike = [candidate(1, 0.900, 0.2), candidate(2, 0.899, 0.5), candidate(3, 0.7, 0.1)]
    assert [it.pair for it in rank_hybrid(alike, rarity=0.5)] == [2, 1, 3]
    apart = [candidate(1, 0.90, 0.2), candidate(2, 0.85, 0.7), candidate(3, 0.7, 0.1)]
    assert [it.pair for it in rank_hybrid(apart, rarity=0.5)] == [1, 2, 3]


def test_holding_a_rare_query_whole_beats_similarity_and_common_words_do_not() -> None:
    candidates = [candidate(1, 0.90, 0.0), candidate(2, 0.80, 1.0), candidate(3, 0.7, 0.0)]
    assert rank_hybrid(candidates, rarity=1.0)[0].pair == 2
    assert rank_hybrid(candidates, rarity=0.3)[0].pair == 1


def test_a_pair_that_holds_the_whole_of_a_rare_query_wins_though_the_model_sees_no_likeness() -> None:
    unrelated = [candidate(pair, 0.9 - pair / 1000, shared=0.0) for pair in range(1, 60)]
    assert rank_hybrid([*unrelated, candidate(99, -0.5, shared=1.0)], rarity=1.0)[0].pair == 99
    assert rank_hybrid([*unrelated, candidate(99, None, shared=1.0)], rarity=1.0)[0].pair == 99


def test_text_ranks_by_the_share_of_terms_then_by_brevity() -> None:
    candidates = [candidate(1, None, 0.5, terms=9), candidate(2, None, 1.0, terms=50), candidate(3, None, 1.0, terms=5)]
    assert [it.pair for it in rank_by_text(candidates)] == [3, 2, 1]
    assert rank_by_text([candidate(1, None, 0.0)]) == []
