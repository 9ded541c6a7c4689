"""The queue of batches: which one is launched next, and what becomes of a batch whose run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.storage.positions import front_of_queue
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import BatchState


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """A batch that waits, the sources that it imports into, and its place."""

    partition_key: str
    name: str
    priority: int
    sources: frozenset[int]


@dataclass(frozen=True, slots=True)
class Launch:
    """A batch taken from the queue. `launched_at` tells this launch from the batch's earlier ones."""

    partition_key: str
    name: str
    priority: int
    launched_at: datetime

    @property
    def run_key(self) -> str:
        """Names the launch. Dagster starts one run for a key, ever; a batch that is queued again gets another."""
        return f"{self.partition_key}/{self.launched_at:%Y%m%dT%H%M%S.%f}"


def lock_queue(connection: psycopg.Connection) -> None:
    """Keep everybody else from changing the queue's order until the transaction ends.

    Always before a batch is locked or changed, never after: two transactions that do it the other way round wait for each other.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('helix.queue'))")


def plan_launches(queue: Sequence[QueuedBatch], busy_sources: frozenset[int], slots: int) -> list[QueuedBatch]:
    """The batches to launch now, in the queue's order: as many as there are slots, and never two into one source.

    A batch whose source is busy keeps its place and holds back later ones of that source, so that files of a source are
    imported in the order in which they arrived.
    """
    chosen: list[QueuedBatch] = []
    taken = busy_sources
    for batch in queue:
        if len(chosen) < slots and not batch.sources & taken:
            chosen.append(batch)
        taken |= batch.sources
    return chosen


def launch_next(connection: psycopg.Connection, max_running: int) -> list[Launch]:
    """Mark as launched what may run now beside what runs already; to be committed before the runs are asked for."""
    lock_queue(connection)
    row = connection.execute(load("queue_busy")).fetchone()
    running, busy = row or (0, [])
    if running >= max_running:
        return []
    waiting = [
        QueuedBatch(key, name, priority, frozenset(sources))
        for key, name, priority, sources in connection.execute(load("queue_waiting")).fetchall()
    ]
    return [_launch(connection, batch) for batch in plan_launches(waiting, frozenset(busy), max_running - running)]


def requeue(connection: psycopg.Connection, partition_key: str) -> BatchState | None:
    """Put a launched batch back, first as it was its turn; returns its state, None where it is not launched any more.

    Where a person has asked for it meanwhile, it is paused or cancelled instead.
    """
    lock_queue(connection)
    row = connection.execute(
        load("queue_requeue"), {"key": partition_key, "position": front_of_queue(connection)}
    ).fetchone()
    return BatchState(row[0]) if row else None


def record_run_end(
    connection: psycopg.Connection,
    partition_key: str,
    run_id: str,
    state: BatchState,
    *,
    run_created: datetime,
    error: Mapping[str, Any] | None = None,
    worker_is_gone: bool = False,
) -> bool:
    """Move a batch whose run has ended without saying so itself to `state`; False where the run has no say in it any more.

    Where its worker is known to be gone, nobody needs to wait for its lease to lapse.

    A run speaks for its batch while it is the one that works on it, or for a launch that is older than itself. Events of
    runs may come late: orphans have been seen to live 100 s beside the run that replaced them.
    """
    moved = connection.execute(
        load("batch_run_end"),
        {
            "key": partition_key,
            "run_id": run_id,
            "state": str(state),
            "created": run_created,
            "error": Jsonb(dict(error)) if error else None,
            "gone": worker_is_gone,
        },
    )
    return moved.rowcount == 1


def _launch(connection: psycopg.Connection, batch: QueuedBatch) -> Launch:
    row = connection.execute(
        "UPDATE helix.import_batch SET state = 'launched', position = NULL, launched_at = clock_timestamp()"
        " WHERE partition_key = %s RETURNING launched_at",
        [batch.partition_key],
    ).fetchone()
    assert row is not None
    return Launch(batch.partition_key, batch.name, batch.priority, row[0])
