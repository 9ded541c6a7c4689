"""Which pairs are served: those all of whose texts have vectors. The others leave what they should replace served."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from helix_pipelines.embedding.generations import Generation
from helix_pipelines.storage.arrays import BinaryArray, binary_array
from helix_pipelines.storage.queries import load


def serve_ready(
    connection: psycopg.Connection,
    generation: Generation,
    *,
    pairs: Sequence[int] = (),
    texts: BinaryArray | None = None,
) -> None:
    """Serve, of these `pairs` and of those with one of these `texts` (an array of their keys), the ones that are ready."""
    if texts is None:
        texts = binary_array(connection, "uuid", 0, ())
    connection.execute(
        load("serve_ready"),
        {"pairs": list(pairs), "hashes": texts, "generation": generation.id, "recipe": generation.recipe},
    )


def mark_stale(connection: psycopg.Connection, generation: Generation, pairs: Sequence[int]) -> None:
    """Mark as stale what is served in place of these `pairs`, as far as a text of theirs has failed."""
    connection.execute(
        load("mark_stale"), {"pairs": list(pairs), "generation": generation.id, "recipe": generation.recipe}
    )
