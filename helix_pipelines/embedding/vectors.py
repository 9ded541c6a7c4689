"""Vectors on their way into the database: packed as arrays, stored, and served where they complete a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import psycopg

from helix_pipelines.embedding.generations import Generation
from helix_pipelines.embedding.readiness import serve_ready
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import Text
from helix_pipelines.storage.arrays import binary_array
from helix_pipelines.storage.queries import load

BY_LOOKUP = (
    "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),"
    " set_config('enable_material', 'off', true)"
)
"""For the transaction: some hundred arrived vectors are looked up in their tables. Planned by cost, the tables are read as a
whole, from some size on for every commit (100,000 texts: 18 s of 31), or once and then compared with each vector."""
HASH_BYTES, HALF_BYTES = 16, 2
HALFVEC_HEADER = 4
"""Bytes before a halfvec's numbers: their count and an unused field, two bytes each."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An answer, and the elements of two arrays as `pack` makes them: keys and vectors of its texts."""

    reply: EmbeddingReply
    texts: int
    keys: bytes
    vectors: bytes

    @property
    def seconds(self) -> float:
        """How long the service took."""
        return self.reply.seconds

    @property
    def tokens(self) -> list[int]:
        """An equal share of the answer's tokens for each text."""
        return [max(1, round(self.reply.tokens / self.texts))] * self.texts


def pack(texts: Sequence[Text], reply: EmbeddingReply) -> Packed:
    """An answer in PostgreSQL's binary form: keys as uuid, unit vectors as half floats, each with its length before it.

    All are made at once, by whoever called the service: one by one the writer would spend a third of its time on this.
    """
    keys = np.zeros(len(texts), _KEY)
    keys["bytes"] = HASH_BYTES
    keys["key"] = np.frombuffer(b"".join(text.hash.bytes for text in texts), f"V{HASH_BYTES}")
    vectors = np.zeros(len(texts), _vector_type(reply.dimensions))
    vectors["bytes"] = HALFVEC_HEADER + HALF_BYTES * reply.dimensions
    vectors["dimensions"] = reply.dimensions
    vectors["numbers"] = reply.vectors / np.linalg.norm(reply.vectors, axis=1, keepdims=True)
    return Packed(reply, len(texts), keys.tobytes(), vectors.tobytes())


def store(connection: psycopg.Connection, packed: Sequence[Packed], generation: Generation, run_id: str) -> None:
    """Store what `pack` made, and serve the pairs whose last vector is among it. Both are sent at once: the writer's time is
    mostly waiting, and after each wait the threads that call the service are before it.
    """
    texts = sum(answer.texts for answer in packed)
    keys = binary_array(connection, "uuid", texts, (answer.keys for answer in packed))
    arrived = {
        "hashes": keys,
        "vectors": binary_array(connection, "halfvec", texts, (answer.vectors for answer in packed)),
        "tokens": [tokens for answer in packed for tokens in answer.tokens],
    }
    with connection.pipeline():
        connection.execute(BY_LOOKUP)
        connection.execute(load("store_vectors"), {**arrived, "generation": generation.id, "run_id": run_id})
        serve_ready(connection, generation, texts=keys)


_KEY = np.dtype([("bytes", ">i4"), ("key", f"V{HASH_BYTES}")])


@lru_cache(maxsize=4)
def _vector_type(dimensions: int) -> np.dtype[np.void]:
    """An array's element: a halfvec with its length before it, all big-endian."""
    return np.dtype(
        [("bytes", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("numbers", ">f2", (dimensions,))],
    )
