"""Which pairs are served: those all of whose texts have vectors."""

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
