"""Leases and fencing: one run works on a batch at a time, and whoever lost it cannot write any more."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import structlog
from psycopg.types.json import Jsonb

from helix_pipelines.resilience.errors import FencedError, HelixError
from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.queries import load

log = structlog.get_logger(__name__)

LEASE_SECONDS = 20
"""A run that has not been heard of for so long has lost its batch."""
HEARTBEAT_SECONDS = 5
"""Four chances within a lease."""


class BatchBusyError(HelixError):
    """Another live run works on the batch."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a batch, proven by its token in every transaction."""

    batch_id: int
    token: uuid.UUID

    def fence(self, connection: psycopg.Connection, counters: Mapping[str, int] | None = None) -> None:
        """Prolong the lease and note progress, as the last statement before a commit.

        Raises FencedError if another run has taken the batch: the caller's transaction must not be committed.
        """
        held = connection.execute(
            "UPDATE helix.import_batch SET lease_expires_at = clock_timestamp() + make_interval(secs => %s),"
            " counters = counters || %s WHERE id = %s AND lease_token = %s",
            [LEASE_SECONDS, Jsonb(dict(counters or {})), self.batch_id, self.token],
        )
        if held.rowcount == 0:
            raise FencedError("LEASE_LOST", "Another run has taken over this batch; this one ends without writing.")


@dataclass(frozen=True, slots=True)
class BatchWork:
    """A batch as a stage sees it: what to work on, under which lease, with which choices."""

    id: int
    partition_key: str
    run_id: str
    settings: BatchSettings
    lease: Lease


@contextmanager
def phase(database: Database, partition_key: str, run_id: str, name: str) -> Iterator[BatchWork]:
    """Hold the batch for one phase: take or renew the lease, keep it alive, and book how the phase went.

    Raises BatchBusyError (BATCH_BUSY) while another run holds it, HelixError (BATCH_UNKNOWN) for an unknown partition.
    """
    with database.transaction() as connection:
        work, attempt = _take(connection, partition_key, run_id, name)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(database, work.lease, stop), name="lease-heartbeat", daemon=True)
    heart.start()
    try:
        yield work
    except BaseException as error:
        _book_failure(database, work.lease, attempt, error)
        raise
    else:
        with database.transaction() as connection:
            connection.execute(
                "UPDATE helix.phase_run SET state = 'done', finished_at = clock_timestamp()"
                " WHERE id = %s AND state = 'running'",
                [attempt],
            )
    finally:
        stop.set()
        heart.join()


def _take(connection: psycopg.Connection, partition_key: str, run_id: str, name: str) -> tuple[BatchWork, int]:
    token = uuid.uuid5(uuid.NAMESPACE_OID, run_id)
    row = connection.execute(
        load("lease_take"), {"key": partition_key, "token": token, "run_id": run_id, "seconds": LEASE_SECONDS}
    ).fetchone()
    if row is None:
        known = connection.execute(
            "SELECT run_id FROM helix.import_batch WHERE partition_key = %s", [partition_key]
        ).fetchone()
        if known is None:
            raise HelixError("BATCH_UNKNOWN", f"There is no import batch {partition_key!r}. `helix status` lists them.")
        raise BatchBusyError("BATCH_BUSY", f"Run {known[0]} is working on batch {partition_key}; wait for it to end.")
    batch_id, config = row
    attempt = connection.execute(
        "INSERT INTO helix.phase_run (batch_id, phase, attempt, run_id) SELECT %(batch)s, %(phase)s, count(*) + 1, %(run)s"
        " FROM helix.phase_run WHERE batch_id = %(batch)s AND phase = %(phase)s RETURNING id",
        {"batch": batch_id, "phase": name, "run": run_id},
    ).fetchone()
    assert attempt is not None
    work = BatchWork(batch_id, partition_key, run_id, BatchSettings.from_json(config), Lease(batch_id, token))
    return work, attempt[0]


def _beat(database: Database, lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            with database.transaction() as connection:
                lease.fence(connection)
        except FencedError:
            log.warning("lease_lost", batch=lease.batch_id)
            return
        except Exception:
            log.exception("heartbeat_failed", batch=lease.batch_id)


def _book_failure(database: Database, lease: Lease, attempt: int, error: BaseException) -> None:
    """Record why the phase ended and let go of the batch, so that a re-execution need not wait for the lease to lapse."""
    code = error.code if isinstance(error, HelixError) else type(error).__name__
    try:
        with database.transaction() as connection:
            connection.execute(
                "UPDATE helix.phase_run SET state = 'failed', finished_at = clock_timestamp(), error_code = %s, error = %s"
                " WHERE id = %s",
                [code, "".join(traceback.format_exception(error)), attempt],
            )
            connection.execute(
                "UPDATE helix.import_batch SET lease_expires_at = clock_timestamp() WHERE id = %s AND lease_token = %s",
                [lease.batch_id, lease.token],
            )
    except Exception:
        log.exception("phase_failure_not_booked", code=code)
