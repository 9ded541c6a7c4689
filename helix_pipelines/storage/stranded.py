"""Batches that nobody seems to work on although their state says so, as the database knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from helix_pipelines.storage.claims import UNKNOWN_SECONDS, judged, stored_holder
from helix_pipelines.storage.holders import Verdict
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import BatchState

LAUNCH_SECONDS = 30.0
"""Until a launched batch without any run counts as a lost launch. Dagster creates the run within a second of the launch, `helix
import` within 15 s on a busy machine; one that comes later still gets the batch, or leaves it to the run that has it."""


@dataclass(frozen=True, slots=True)
class StrandedBatch:
    """A batch that was launched and has not begun in time, or whose lease has lapsed while it is running."""

    partition_key: str
    state: str
    run_id: str | None
    """The run that has it, or had it last."""
    stop_requested: str | None
    holder: object
    lapsed: float
    """Seconds since the lease ended."""

    @property
    def is_running(self) -> bool:
        """Whether a run has had it since it was launched."""
        return self.state == BatchState.RUNNING

    @property
    def is_held(self) -> bool:
        """Whether the process that had the lease may still be there."""
        holder = stored_holder(self.holder)
        if holder is None:
            return self.lapsed < UNKNOWN_SECONDS
        return judged(holder, self.lapsed) is not Verdict.GONE


def stranded_batches(connection: psycopg.Connection) -> list[StrandedBatch]:
    """The batches that look stranded; most of them have a run that is about to begin, or to be retried."""
    with connection.cursor(row_factory=class_row(StrandedBatch)) as cursor:
        return cursor.execute(load("stranded_batches"), {"grace": LAUNCH_SECONDS}).fetchall()


def owners(connection: psycopg.Connection, partition_keys: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """State and run of the batches with these keys."""
    rows = connection.execute(
        "SELECT partition_key, state, run_id FROM helix.import_batch WHERE partition_key = ANY(%s)",
        [list(partition_keys)],
    ).fetchall()
    return {key: (state, run_id) for key, state, run_id in rows}


def partition_keys(connection: psycopg.Connection) -> list[str]:
    """The keys of all batches, oldest first."""
    rows = connection.execute("SELECT partition_key FROM helix.import_batch ORDER BY id").fetchall()
    return [row[0] for row in rows]
