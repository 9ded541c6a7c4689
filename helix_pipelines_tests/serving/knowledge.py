"""A small knowledge base written straight into the tables, for the tests of search."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from uuid import UUID

import psycopg

from helix_pipelines.embedding.generations import ensure_generation
from helix_pipelines.embedding.passages import PLAIN_RECIPE, passages, text_hash
from helix_pipelines.serving.terms import terms

DIMENSIONS = 8


class KnowledgeBase:
    """Adds pairs with their rows, passages and vectors to an empty, current database."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        connection.execute(
            "INSERT INTO helix.import_batch (partition_key, name, state, position) VALUES ('test', 'test', 'queued', 1)"
        )
        with connection.transaction():
            assert ensure_generation(connection, "test-model", DIMENSIONS) is not None

    def add(
        self,
        question: str,
        answer: str = "Yes.",
        vector: Sequence[float] | None = None,
        *,
        collection: str = "default",
        source: str = "faq.csv",
        category: str | None = None,
        language: str = "en",
        row: int = 1,
        sheet: str | None = None,
    ) -> int:
        """A served pair from one row; gives its id. The same question and answer again only adds a row."""
        collection_id = self._id("SELECT id FROM helix.collection WHERE name = %s", [collection]) or self._id(
            "INSERT INTO helix.collection (name) VALUES (%s) RETURNING id", [collection]
        )
        source_id = self._id(
            "SELECT id FROM helix.source WHERE collection_id = %s AND name = %s", [collection_id, source]
        ) or self._id(
            "INSERT INTO helix.source (collection_id, name) VALUES (%s, %s) RETURNING id", [collection_id, source]
        )
        import_id = self._id(
            "INSERT INTO helix.import_job (batch_id, source_id, path, mode, pipeline_version)"
            " SELECT id, %s, %s, 'append', 'test' FROM helix.import_batch RETURNING id",
            [source_id, f"/inbox/{source}"],
        )
        content = UUID(bytes=blake2b(f"{question}\n{answer}".encode(), digest_size=16).digest())
        pair = self._id(
            "INSERT INTO helix.qa_pair (collection_id, content_hash, question_key, question, answer, language, search,"
            " derived_version, first_import_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, array_to_tsvector(%s), 1, %s)"
            " ON CONFLICT (collection_id, content_hash) DO UPDATE SET derived_version = 1 RETURNING id",
            [collection_id, content, content, question, answer, language, terms(f"{question}\n{answer}"), import_id],
        )
        self.connection.execute(
            "INSERT INTO helix.occurrence (source_id, row_key, collection_id, pair_id, served_pair_id, import_job_id, ordinal,"
            " row_number, sheet, content_hash, question_key, category) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [source_id, import_id, collection_id, pair, pair, import_id, row, row, sheet, content, content, category],
        )
        if vector is not None:
            self._embed(pair, passages(question, answer, PLAIN_RECIPE)[0], vector)
        return pair

    def _embed(self, pair: int, body: str, vector: Sequence[float]) -> None:
        key = text_hash(body)
        self.connection.execute(
            "INSERT INTO helix.passage VALUES (%s, %s, 0, %s, %s) ON CONFLICT DO NOTHING",
            [pair, PLAIN_RECIPE, key, body],
        )
        self.connection.execute(
            "INSERT INTO helix.embedding (generation_id, text_hash, state, vector, segment)"
            " SELECT id, %s, 'completed', %s::float4[]::vector::halfvec, open_segment FROM helix.embedding_generation"
            " ON CONFLICT DO NOTHING",
            [key, list(vector)],
        )

    def _id(self, statement: str, parameters: list[object]) -> int:
        row = self.connection.execute(statement.encode(), parameters).fetchone()
        return int(row[0]) if row else 0


def axis(number: int, towards: int = 0, share: float = 0.0) -> list[float]:
    """The unit vector along an axis, leaning towards another one by a share of 1."""
    vector = [0.0] * DIMENSIONS
    vector[number] += 1.0 - share
    vector[towards] += share
    return vector
