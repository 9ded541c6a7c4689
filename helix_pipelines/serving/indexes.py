"""Indexes over vectors: full segments of the active generation are sealed and indexed, the open one is scanned exactly.

Writing into an existing HNSW index takes 540 vectors a second, building one afterwards 2,000; an exact scan of 100,000 vectors
takes 40 ms. So new vectors go to an unindexed segment until it is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Final

import psycopg
from psycopg import sql

from helix_pipelines.embedding.generations import Generation, active_generation, partition_name
from helix_pipelines.storage.queries import load

SEGMENT_VECTORS: Final = 200_000
"""A segment is sealed when it holds more: from there on an exact scan takes longer than 0.1 s."""

BUILD_MEMORY: Final = "512MB"
"""`maintenance_work_mem` of a build: a graph that does not fit is finished on disk, many times slower."""

INDEX_LOCK: Final = 0x48454C49_0001
"""Advisory lock of the one builder at a time, in any process."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was done: the segment that was sealed now (None for none), those indexed now, leftovers of broken builds that were
    dropped. `is_busy` tells that another process is building, and that nothing was done here.
    """

    sealed: int | None
    indexed: list[int]
    dropped: list[int]
    is_busy: bool
    seconds: float


def index_segments(url: str, *, segment_vectors: int = SEGMENT_VECTORS) -> IndexReport:
    """Seal the active generation's open segment if it is full, and index every sealed segment that has no valid index.

    Builds run concurrently with reads and writes, hold no lease, and may be killed: the next call drops what is left and
    starts again. Until a segment's index is there it is searched exactly.
    """
    started = monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        lock = connection.execute("SELECT pg_try_advisory_lock(%s)", [INDEX_LOCK]).fetchone()
        if lock is None or not lock[0]:
            return IndexReport(None, [], [], is_busy=True, seconds=monotonic() - started)
        sealed = _seal(connection, segment_vectors)
        generation = active_generation(connection)  # after sealing: its open segment is the next one
        dropped: list[int] = []
        indexed: list[int] = []
        if generation is not None:
            for segment, is_leftover in _unindexed(connection, generation):
                if is_leftover:
                    _drop(connection, generation, segment)
                    dropped.append(segment)
                _build(connection, generation, segment)
                indexed.append(segment)
        return IndexReport(sealed, indexed, dropped, is_busy=False, seconds=monotonic() - started)


def _seal(connection: psycopg.Connection, segment_vectors: int) -> int | None:
    """Send new vectors to the next segment if the open one is full; the number of the sealed one.

    Who read the old number just before still writes there: the index takes in such latecomers.
    """
    row = connection.execute(load("seal_segment"), {"vectors": segment_vectors}).fetchone()
    return None if row is None else int(row[0])


def _unindexed(connection: psycopg.Connection, generation: Generation) -> list[tuple[int, bool]]:
    prefix = _index_name(generation, "")
    return connection.execute(
        load("index_segments"), {"open_segment": generation.open_segment, "prefix": prefix}
    ).fetchall()


def _drop(connection: psycopg.Connection, generation: Generation, segment: int) -> None:
    name = sql.Identifier("helix", _index_name(generation, segment))
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name))


def _build(connection: psycopg.Connection, generation: Generation, segment: int) -> None:
    connection.execute("SELECT set_config('maintenance_work_mem', %s, false)", [BUILD_MEMORY])
    # Parallel builds share the graph in /dev/shm, which containers limit to 64 MB.
    connection.execute("SET max_parallel_maintenance_workers = 0")
    connection.execute(
        sql.SQL(load("build_segment_index")).format(
            index=sql.Identifier(_index_name(generation, segment)),
            partition=sql.Identifier("helix", partition_name(generation.id)),
            dimensions=sql.Literal(generation.dimensions),
            segment=sql.Literal(segment),
        )
    )


def _index_name(generation: Generation, segment: int | str) -> str:
    return f"ix_{partition_name(generation.id)}_segment_{segment}"
