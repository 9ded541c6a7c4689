"""A run's hold on its batch, from its first phase to its end: the lease and its heartbeat, and how each phase went."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from helix_pipelines.resilience.errors import BatchStoppedError, FencedError, HelixError
from helix_pipelines.storage.claims import stored_holder
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.failures import diagnose
from helix_pipelines.storage.holders import Holder, Verdict
from helix_pipelines.storage.leases import HEARTBEAT_SECONDS, BatchWork, HeldBatch, Lease, Place, StopReason, take_lease
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import lock_queue
from helix_pipelines.storage.states import BatchState
from helix_pipelines.storage.transactions import is_retryable, run_chunk

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at a batch that another run holds, and between two heartbeats once one failed."""
STATE_AFTER = {
    StopReason.PAUSE: BatchState.PAUSED,
    StopReason.CANCEL: BatchState.CANCELLED,
    StopReason.SHUTDOWN: BatchState.QUEUED,
    StopReason.RUN_TIMEOUT: BatchState.QUEUED,
}


class BatchBusyError(HelixError):
    """Another live run works on the batch."""


@dataclass(frozen=True, slots=True)
class _Hold:
    """Who has a batch, as another run sees it."""

    id: int
    state: str
    run_id: str | None
    lease_token: Any
    lease_expires_at: datetime | None
    holder: Any
    stop_requested: str | None

    @property
    def is_pausing(self) -> bool:
        """Whether it is paused, or will be as soon as its run has heard of it."""
        return self.state == BatchState.PAUSED or self.stop_requested == StopReason.PAUSE


class BatchRun:
    """One run. Takes its batch in its first phase and keeps it until `close`, whatever comes between.

    `phase_timeout` and `run_timeout` are seconds; `sleep` is for tests. Not for several phases at once.
    """

    def __init__(
        self,
        database: Database,
        run_id: str,
        *,
        phase_timeout: float = float("inf"),
        run_timeout: float = float("inf"),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._phase_timeout = phase_timeout
        self._ends = time.monotonic() + run_timeout
        self._sleep = sleep
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None
        self._lease: Lease | None = None
        self._asked: StopReason | None = None
        self.place: Place | None = None
        """Where the last phase was when it ended."""

    def ask(self, reason: StopReason) -> None:
        """Have the run stop after the transaction that it is in; may be called by a signal handler."""
        self._asked = reason
        if self._lease is not None:
            self._lease.ask(reason)

    @contextmanager
    def phase(self, database: Database, partition_key: str, name: str) -> Iterator[BatchWork]:
        """Hold the batch for one phase, and book how the phase went.

        Raises BatchBusyError (BATCH_BUSY) where another run has the batch and lives, HelixError (BATCH_UNKNOWN, BATCH_CANCELLED),
        BatchStoppedError where the batch was paused while this run waited for it, and what the block raises. A block that was
        asked to stop has been ended for good by then: its batch is paused, cancelled, or queued again.
        """
        held = self._hold(partition_key)
        work = BatchWork(
            held.id,
            partition_key,
            self._run_id,
            name,
            held.settings,
            held.lease,
            deadline=time.monotonic() + self._phase_timeout,
        )
        attempt = run_chunk(database, lambda connection: self._book_start(connection, work))
        try:
            work.heed()
            yield work
        except BatchStoppedError as stopped:
            reason = StopReason(stopped.reason)
            run_chunk(database, lambda connection: self._end_stopped(connection, work, reason))
            work.lease.end()
            raise
        except BaseException as error:
            self.place = work.place
            fenced = self._fenced_off(work, error)
            self._book_failure(work, attempt, fenced or error)
            if fenced is not None:
                raise fenced from error
            raise
        else:
            run_chunk(database, lambda connection: _book_end(connection, attempt))

    def close(self) -> None:
        """Let go of what is still held. To be called when the run has ended, however it did."""
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        lease = self._lease
        if lease is not None and not lease.is_over:
            try:
                with self._database.transaction() as connection:
                    connection.execute(load("lease_let_go"), {"batch": lease.batch_id, "token": lease.token})
            except Exception:  # it lapses by itself
                log.exception("lease_not_let_go", batch=lease.batch_id)

    def _hold(self, partition_key: str) -> HeldBatch:
        """Take the batch, after waiting for as long as it takes to see whether another run that has it lives.

        Raises BatchStoppedError where it was paused during the wait. A pause from before is no hindrance: who launches a run
        after it wants the batch to go on.
        """
        holder = msgspec.to_builtins(Holder.here())
        seen: datetime | None = None
        heeds_pause = False
        while True:
            take = partial(self._take, partition_key=partition_key, holder=holder, heeds_pause=heeds_pause)
            held = run_chunk(self._database, take)
            if held is not None:
                return self._keep(held)
            with self._database.transaction() as connection:
                other = _holder_of(connection, partition_key)
                heeds_pause = heeds_pause or not other.is_pausing
                if _is_gone(other):
                    _bury(connection, other)
                    continue
            if seen is not None and other.lease_expires_at and other.lease_expires_at > seen:
                raise BatchBusyError(
                    "BATCH_BUSY", f"Run {other.run_id} is working on batch {partition_key}, and it is alive."
                )
            seen = seen or other.lease_expires_at
            self._sleep(LOOK_SECONDS)

    def _take(
        self, connection: psycopg.Connection, *, partition_key: str, holder: object, heeds_pause: bool
    ) -> HeldBatch | None:
        if heeds_pause:  # locked, as the run that has the batch may be ending it as paused in this moment
            paused = connection.execute(
                "SELECT state = 'paused' FROM helix.import_batch WHERE partition_key = %s FOR UPDATE", [partition_key]
            ).fetchone()
            if paused == (True,):
                raise BatchStoppedError(
                    "BATCH_PAUSE",
                    "The batch was paused while this run waited for it; what is done stays.",
                    StopReason.PAUSE,
                )
        return take_lease(connection, partition_key, self._run_id, holder)

    def _keep(self, held: HeldBatch) -> HeldBatch:
        self._lease = held.lease
        if self._asked is not None:
            held.lease.ask(self._asked)
        if self._heart is None or not self._heart.is_alive():
            self._heart = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
            self._heart.start()
        return held

    def _beat(self) -> None:
        """Renew the lease while the run lives; what it learns, the lease tells to whoever listens."""
        wait = float(HEARTBEAT_SECONDS)
        while not self._ended.wait(wait):
            lease = self._lease
            if lease is None or lease.is_over:
                return
            if time.monotonic() > self._ends:
                lease.ask(StopReason.RUN_TIMEOUT)
            wait = float(HEARTBEAT_SECONDS)
            try:
                with self._database.transaction() as connection:
                    lease.fence(connection)
            except FencedError as error:
                if not lease.is_over:
                    log.warning("lease_lost", batch=lease.batch_id)
                    lease.lose(error)
                return
            except Exception:
                log.exception("heartbeat_failed", batch=lease.batch_id)
                wait = LOOK_SECONDS
                if lease.is_uncertain:
                    lease.alert()

    def _book_start(self, connection: psycopg.Connection, work: BatchWork) -> int:
        row = connection.execute(
            "INSERT INTO helix.phase_run (batch_id, phase, attempt, run_id)"
            " SELECT %(batch)s, %(phase)s, count(*) + 1, %(run)s"
            " FROM helix.phase_run WHERE batch_id = %(batch)s AND phase = %(phase)s RETURNING id",
            {"batch": work.id, "phase": work.phase, "run": self._run_id},
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _end_stopped(self, connection: psycopg.Connection, work: BatchWork, reason: StopReason) -> None:
        state = STATE_AFTER[reason]
        if state is BatchState.QUEUED:
            lock_queue(connection)
        work.lease.fence(connection)
        connection.execute(
            load("lease_stop"),
            {
                "batch": work.id,
                "run_id": self._run_id,
                "state": str(state),
                "first": reason is StopReason.SHUTDOWN,
            },
        )

    def _fenced_off(self, work: BatchWork, error: BaseException) -> FencedError | None:
        """A run that lost its batch may stumble over what the next one wrote before it comes to the fence: that is no defect."""
        if not isinstance(error, Exception) or isinstance(error, FencedError) or is_retryable(error):
            return None
        if work.lease.is_over:  # the phase had closed its batch, and failed at what comes after that
            return None
        try:
            with self._database.transaction() as connection:
                work.lease.fence(connection)
        except FencedError as fenced:
            return fenced
        except Exception:
            log.exception("lease_not_looked_at", batch=work.id)
        return None

    def _book_failure(self, work: BatchWork, attempt: int, error: BaseException) -> None:
        """Record why and where the phase ended, and what to do about it; where that fails too, the log has it."""
        failure = diagnose(error)
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    load("phase_failed"),
                    {
                        "id": attempt,
                        "state": "skipped" if isinstance(error, FencedError) else "failed",
                        "code": failure.code,
                        "error": "".join(traceback.format_exception(error)),
                        "recoverable": failure.recoverable,
                        "advice": failure.advice,
                        "place": Jsonb(work.place.to_json()) if work.place else None,
                    },
                )
        except Exception:
            log.exception("phase_failure_not_booked", code=failure.code)


@contextmanager
def phase(database: Database, partition_key: str, run_id: str, name: str) -> Iterator[BatchWork]:
    """Hold a batch for a single phase, as a run that does nothing else."""
    run = BatchRun(database, run_id)
    try:
        with run.phase(database, partition_key, name) as work:
            yield work
    finally:
        run.close()


def _holder_of(connection: psycopg.Connection, partition_key: str) -> _Hold:
    """Raises HelixError for a batch that no run can have: BATCH_UNKNOWN, BATCH_CANCELLED."""
    with connection.cursor(row_factory=class_row(_Hold)) as cursor:
        other = cursor.execute(
            "SELECT id, state, run_id, lease_token, lease_expires_at, holder, stop_requested"
            " FROM helix.import_batch WHERE partition_key = %s",
            [partition_key],
        ).fetchone()
    if other is None:
        raise HelixError("BATCH_UNKNOWN", f"There is no import batch {partition_key!r}. `helix status` lists them.")
    if other.state == BatchState.CANCELLED:
        raise HelixError(
            "BATCH_CANCELLED",
            f"Batch {partition_key} was cancelled. `helix queue retry {partition_key}` takes it up again.",
        )
    return other


def _is_gone(other: _Hold) -> bool:
    holder = stored_holder(other.holder)
    return holder is not None and holder.verdict() is Verdict.GONE


def _bury(connection: psycopg.Connection, other: _Hold) -> None:
    """End the lease of a process that is gone."""
    connection.execute(load("lease_let_go"), {"batch": other.id, "token": other.lease_token})


def _book_end(connection: psycopg.Connection, attempt: int) -> None:
    connection.execute(
        "UPDATE helix.phase_run SET state = 'done', finished_at = clock_timestamp() WHERE id = %s AND state = 'running'",
        [attempt],
    )
