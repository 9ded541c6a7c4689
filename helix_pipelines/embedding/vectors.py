"""Vectors on their way into the database: packed for COPY, stored, and served where they complete a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import psycopg

from helix_pipelines.embedding.generations import Generation
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import Text
from helix_pipelines.storage.copying import copy_packed
from helix_pipelines.storage.queries import load

COLUMNS = ("text_hash", "vector", "tokens")
BY_LOOKUP = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
"""Some hundred arrived vectors are looked up in their tables: planned by cost, the tables are read as a whole from some size on,
for every commit (100,000 texts: 18 s of 31)."""
HASH_BYTES, HALF_BYTES, INT_BYTES = 16, 2, 4
HALFVEC_HEADER = 4
"""Bytes before a halfvec's numbers: their count and an unused field, two bytes each."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An answer, and its `rows` as `pack` makes them."""

    reply: EmbeddingReply
    rows: bytes

    @property
    def seconds(self) -> float:
        """How long the service took."""
        return self.reply.seconds


def pack(texts: Sequence[Text], reply: EmbeddingReply) -> Packed:
    """The rows of an answer in COPY's binary form: hash, unit vector as half floats, an equal share of the tokens.

    All rows are made at once, by whoever called the service: row by row the writer would spend a third of its time on this.
    """
    vectors = reply.vectors
    rows = np.zeros(len(texts), _row_type(reply.dimensions))
    rows["fields"] = len(COLUMNS)
    rows["hash_bytes"] = HASH_BYTES
    rows["hash"] = np.frombuffer(b"".join(text.hash.bytes for text in texts), f"V{HASH_BYTES}")
    rows["vector_bytes"] = HALFVEC_HEADER + HALF_BYTES * reply.dimensions
    rows["dimensions"] = reply.dimensions
    rows["vector"] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows["tokens_bytes"] = INT_BYTES
    rows["tokens"] = max(1, round(reply.tokens / len(texts)))
    return Packed(reply, rows.tobytes())


def store(connection: psycopg.Connection, packed: Sequence[Packed], generation: Generation, run_id: str) -> None:
    """Store what `pack` made, and serve the pairs whose last vector is among it."""
    connection.execute(load("create_arrived_vector"))
    connection.execute(BY_LOOKUP)
    copy_packed(connection, "arrived_vector", COLUMNS, (answer.rows for answer in packed))
    connection.execute(load("store_vectors"), {"generation": generation.id, "run_id": run_id})
    pairs = connection.execute(load("pairs_of_arrived"), {"recipe": generation.recipe}).fetchall()
    connection.execute(
        load("serve_ready"),
        {"pairs": [pair for (pair,) in pairs], "generation": generation.id, "recipe": generation.recipe},
    )


@lru_cache(maxsize=4)
def _row_type(dimensions: int) -> np.dtype[np.void]:
    """One row: the number of fields, then each field with its length before it, all big-endian."""
    return np.dtype(
        [
            ("fields", ">i2"),
            ("hash_bytes", ">i4"),
            ("hash", f"V{HASH_BYTES}"),
            ("vector_bytes", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", (dimensions,)),
            ("tokens_bytes", ">i4"),
            ("tokens", ">i4"),
        ]
    )
