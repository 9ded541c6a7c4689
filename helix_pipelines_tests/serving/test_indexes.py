from __future__ import annotations

import numpy as np
import psycopg
import pytest

from helix_pipelines.serving.indexes import INDEX_LOCK, index_segments
from helix_pipelines.serving.search import search
from helix_pipelines_tests.serving.knowledge import DIMENSIONS, KnowledgeBase

SEGMENT = 500


def fill(connection: psycopg.Connection, base: KnowledgeBase, count: int, seed: int) -> dict[int, np.ndarray]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    with connection.transaction():
        return {
            base.add(f"Question {seed} {number}", vector=vector.tolist(), collection="small" if number % 50 == 0 else "default")
            : vector / np.linalg.norm(vector)
            for number, vector in enumerate(vectors)
        }  # fmt: skip


def indexes(connection: psycopg.Connection) -> list[tuple[str, bool]]:
    return connection.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE c.relname LIKE 'ix_embedding_g1_segment_%' ORDER BY 1"
    ).fetchall()


def nearest(vectors: dict[int, np.ndarray], query: np.ndarray, count: int = 10) -> set[int]:
    return set(sorted(vectors, key=lambda pair: -float(vectors[pair] @ query))[:count])


def test_a_full_segment_is_sealed_and_indexed_and_search_finds_the_same(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        base = KnowledgeBase(connection)
        vectors = fill(connection, base, SEGMENT + 1, seed=1)
        report = index_segments(migrated_url, segment_vectors=SEGMENT)
        assert (report.sealed, report.indexed, report.dropped) == (0, [0], [])
        assert indexes(connection) == [("ix_embedding_g1_segment_0", True)]
        vectors |= fill(connection, base, 100, seed=2)
        assert connection.execute("SELECT segment, count(*) FROM helix.embedding GROUP BY 1 ORDER BY 1").fetchall() == [
            (0, SEGMENT + 1),
            (1, 100),
        ]
        connection.execute("ANALYZE")
        query = np.random.default_rng(3).normal(size=DIMENSIONS).astype(np.float32)
        query /= np.linalg.norm(query)
        hits = {hit.pair for hit in search(connection, "?", query).hits}
        assert len(hits & nearest(vectors, query)) >= 9
        small = {pair: vector for number, (pair, vector) in enumerate(vectors.items()) if (number % 501) % 50 == 0}
        hits = {hit.pair for hit in search(connection, "?", query, collection="small").hits}
        assert hits == nearest(small, query)


def test_a_segment_that_is_not_full_stays_open(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        fill(connection, KnowledgeBase(connection), 20, seed=1)
        report = index_segments(migrated_url, segment_vectors=20)
        assert (report.sealed, report.indexed) == (None, [])
        assert indexes(connection) == []


def test_what_an_interrupted_build_left_is_dropped_and_built_again(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        fill(connection, KnowledgeBase(connection), 20, seed=1)
        connection.execute("UPDATE helix.embedding_generation SET open_segment = 1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY ix_embedding_g1_segment_0 ON helix.embedding_g1 (generation_id)"
            )
        assert indexes(connection) == [("ix_embedding_g1_segment_0", False)]
        report = index_segments(migrated_url, segment_vectors=SEGMENT)
        assert (report.indexed, report.dropped) == ([0], [0])
        assert indexes(connection) == [("ix_embedding_g1_segment_0", True)]
        assert index_segments(migrated_url, segment_vectors=SEGMENT).indexed == []


def test_only_one_process_builds(migrated_url: str) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [INDEX_LOCK])
        assert index_segments(migrated_url).is_busy


def test_without_a_generation_there_is_nothing_to_index(migrated_url: str) -> None:
    assert index_segments(migrated_url).indexed == []
