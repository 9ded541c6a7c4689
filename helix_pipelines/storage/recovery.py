"""What becomes of a batch whose run failed for good: another try from the queue, or the end, with the whole story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from helix_pipelines.settings import Settings
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import lock_queue, record_run_end
from helix_pipelines.storage.states import BatchState

WORKER_LOST = "RUN_WORKER_LOST"
"""Code of a run whose process ended before it could say why."""
LONGEST_WAIT = 3600.0
"""Seconds between two tries of a batch at most."""
STORY_LENGTH = 20
"""Failed attempts that an error tells, the latest ones."""


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How often a batch is tried again that makes no progress, and after how many seconds at first."""

    max_retries: int
    backoff_base: float

    @classmethod
    def from_settings(cls, settings: Settings) -> RetryRules:
        """As `HELIX_MAX_RETRIES` and `HELIX_RETRY_BACKOFF_BASE` say."""
        return cls(settings.max_retries, settings.retry_backoff_base)

    def wait(self, fruitless: int, *, lost: bool) -> float:
        """Seconds until the next try after so many runs in a row without progress, doubled for each.

        There is nothing to wait for where a worker was lost on the way: whatever ended it is over.
        """
        if lost and fruitless == 0:
            return 0.0
        return float(min(self.backoff_base * 2.0 ** min(fruitless, 16), LONGEST_WAIT))


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed and will not be retried by Dagster. `runs` is how many there were, Dagster's own retries included.

    `error` has code and message, and what is known of phase, advice and `recoverable`. `worker_is_gone` says that nobody has to
    wait for its lease.
    """

    partition_key: str
    run_id: str
    created: datetime
    error: Mapping[str, Any]
    runs: int = 1
    worker_is_gone: bool = False


def settle_failed_run(connection: psycopg.Connection, run: FailedRun, rules: RetryRules) -> BatchState | None:
    """Decide on the batch of a failed run; None where the run has no say in it any more.

    What time can mend is tried again: without end while there is progress, `max_retries` times without. What only a person can
    mend is an error at once. A stop that a person asked for comes first.
    """
    lock_queue(connection)
    place = {"key": run.partition_key, "run_id": run.run_id, "created": run.created}
    with connection.cursor(row_factory=dict_row) as cursor:
        batch = cursor.execute(load("batch_failed"), place).fetchone()
    if batch is None:
        return None
    if batch["stop_requested"] is not None:
        record_run_end(
            connection,
            run.partition_key,
            run.run_id,
            BatchState.PAUSED,
            run_created=run.created,
            worker_is_gone=run.worker_is_gone,
        )
        return BatchState.CANCELLED if batch["stop_requested"] == "cancel" else BatchState.PAUSED
    fruitless = 0 if batch["progress"] > batch["progress_before"] else batch["fruitless"] + run.runs
    again = bool(run.error.get("recoverable")) and fruitless <= rules.max_retries
    state = BatchState.QUEUED if again else BatchState.ERROR
    connection.execute(
        load("batch_settle"),
        {
            "batch": batch["id"],
            "state": str(state),
            "error": Jsonb({**run.error, "run": run.run_id, "attempts": _story(connection, batch["id"])}),
            "progress": batch["progress"],
            "fruitless": fruitless,
            "wait": rules.wait(fruitless, lost=run.error.get("code") == WORKER_LOST),
            "gone": run.worker_is_gone,
        },
    )
    if state is BatchState.ERROR:
        _emit(connection, batch["id"], run)
    return state


def failed_attempts(connection: psycopg.Connection, batch_id: int) -> list[dict[str, Any]]:
    """The latest attempts at phases of the batch that came to nothing, oldest first: what, where, why, and the traceback."""
    with connection.cursor(row_factory=dict_row) as cursor:
        latest = cursor.execute(load("batch_story"), {"batch": batch_id, "limit": STORY_LENGTH}).fetchall()
    return latest[::-1]


def _story(connection: psycopg.Connection, batch_id: int) -> list[dict[str, Any]]:
    """The attempts as an error tells them, without tracebacks."""
    return [
        {name: value for name, value in attempt.items() if name != "traceback"}
        for attempt in failed_attempts(connection, batch_id)
    ]


def _emit(connection: psycopg.Connection, batch_id: int, run: FailedRun) -> None:
    connection.execute(
        "INSERT INTO helix.event (kind, batch_id, payload) VALUES ('error.occurred', %s, %s)",
        [batch_id, Jsonb({"batch": run.partition_key, "run": run.run_id, "code": run.error.get("code")})],
    )
