"""Vectors on their way into the database: packed for COPY, stored, and served where they complete a pair."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg

from helix_pipelines.embedding.generations import Generation
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import Text
from helix_pipelines.storage.copying import RAW, copy_rows
from helix_pipelines.storage.queries import load

COLUMNS = (("text_hash", "uuid"), ("vector", RAW), ("tokens", "int4"))


def rows(texts: Sequence[Text], reply: EmbeddingReply) -> Iterator[tuple[Any, ...]]:
    """Rows for COPY: unit vectors in halfvec's binary form (dimensions, unused, big-endian half floats)."""
    vectors = reply.vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    halves = (vectors / lengths).astype(">f2")
    header = struct.pack(">HH", halves.shape[1], 0)
    tokens = max(1, round(reply.tokens / len(texts)))
    for text, half in zip(texts, halves, strict=True):
        yield text.hash, header + half.tobytes(), tokens


def store(
    connection: psycopg.Connection, arrived: Sequence[tuple[Any, ...]], generation: Generation, run_id: str
) -> None:
    """Store what `rows` made, and serve the pairs whose last vector is among it."""
    connection.execute(load("create_arrived_vector"))
    copy_rows(connection, "arrived_vector", COLUMNS, arrived)
    connection.execute("ANALYZE arrived_vector")
    connection.execute(load("store_vectors"), {"generation": generation.id, "run_id": run_id})
    pairs = connection.execute(
        "SELECT DISTINCT t.pair_id FROM arrived_vector v JOIN helix.passage t ON t.text_hash = v.text_hash"
        " WHERE t.recipe = %s",
        [generation.recipe],
    ).fetchall()
    connection.execute(
        load("serve_ready"),
        {"pairs": [pair for (pair,) in pairs], "generation": generation.id, "recipe": generation.recipe},
    )
