"""Batches that wait for a service: put aside with the reason, and taken up again, one at a time while it is away."""

from __future__ import annotations

import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.resilience.errors import UnavailableError
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import lock_queue
from helix_pipelines.storage.states import BatchState

SHORTEST_WAIT = 5.0
"""Seconds before a deferred batch is run again: its run has just waited for the service, and starting another takes as long."""


def defer(connection: psycopg.Connection, batch: BatchWork, error: UnavailableError, gate: bytes) -> BatchState:
    """End a batch's run with its work left for later; returns the new state.

    It is `deferred` where it can go on by itself, `paused` where a person has to decide, and what a person has asked for
    meanwhile. Claims of texts lapse with the lease.
    Raises FencedError where another run has taken the batch.
    """
    state = BatchState.PAUSED if error.retry_in is None else BatchState.DEFERRED
    batch.lease.fence(connection)
    row = connection.execute(
        load("defer_batch"),
        {
            "batch": batch.id,
            "run_id": batch.run_id,
            "state": str(state),
            "error": Jsonb({"code": error.code, "message": error.message}),
            "wait": None if error.retry_in is None else max(error.retry_in, SHORTEST_WAIT),
            "gate": gate,
        },
    ).fetchone()
    assert row is not None, "the fence has found the batch"
    return BatchState(row[0])


def continue_due(connection: psycopg.Connection) -> list[str]:
    """Queue the deferred batches that are due, and return their keys.

    While a gate is open only one batch of it is under way, to find out for all of them.
    """
    lock_queue(connection)
    return [key for (key,) in connection.execute(load("continue_deferred")).fetchall()]
