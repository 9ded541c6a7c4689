"""Leases and fencing: one run works on a batch at a time, and whoever lost it cannot write any more.

A run takes its batch in its first phase and holds it until it ends, also between two tries of a step: a thread of it renews the
lease every few seconds. The proof is not the thread but the fence, the last statement of every transaction of the batch: it finds
the lease's token in the batch, or the transaction is undone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg.types.json import Jsonb

from helix_pipelines.resilience.errors import BatchStoppedError, FencedError, LeaseUncertainError, PhaseError
from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.transactions import run_chunk

T = TypeVar("T")
log = structlog.get_logger(__name__)

LEASE_SECONDS = 20
"""A run that has not been heard of for so long has lost its batch."""
HEARTBEAT_SECONDS = 5
"""Four chances within a lease."""
SAFE_SECONDS = LEASE_SECONDS - HEARTBEAT_SECONDS
"""Without a renewal for so long a run stops what costs money: the next one may begin before it notices."""


class StopReason(StrEnum):
    """Why a run ends before its work does: a person's word, or its process or time coming to an end."""

    PAUSE = "pause"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    RUN_TIMEOUT = "run_timeout"


class Lease:
    """The right to write for a batch, proven by its token in every transaction. Safe to use from several threads.

    It also knows who has asked the run to stop, and whether it was renewed lately; `clock` gives seconds that only grow.
    """

    def __init__(self, batch_id: int, token: uuid.UUID, clock: Callable[[], float] = monotonic) -> None:
        self.batch_id = batch_id
        self.token = token
        self._clock = clock
        self._renewed = clock()
        self._stop: StopReason | None = None
        self._lost: FencedError | None = None
        self.is_over = False
        self._listeners: list[Callable[[], None]] = []

    def fence(self, connection: psycopg.Connection, counters: Mapping[str, int] | None = None) -> None:
        """Prolong the lease and note progress, as the last statement before a commit.

        Raises FencedError if another run has taken the batch: the caller's transaction must not be committed.
        """
        asked_at = self._clock()
        row = connection.execute(
            "UPDATE helix.import_batch SET lease_expires_at = clock_timestamp() + make_interval(secs => %s),"
            " counters = counters || %s WHERE id = %s AND lease_token = %s RETURNING stop_requested",
            [LEASE_SECONDS, Jsonb(dict(counters or {})), self.batch_id, self.token],
        ).fetchone()
        if row is None:
            raise FencedError("LEASE_LOST", "Another run has taken over this batch; this one ends without writing.")
        self._renewed = asked_at
        if row[0] is not None:
            self.ask(StopReason(row[0]))

    def ask(self, reason: StopReason) -> None:
        """Have the run stop after the transaction that it is in. The first reason counts; may be called by a signal handler."""
        self._stop = self._stop or reason
        self.alert()

    def heed(self) -> None:
        """Raise a HaltError if the run may not go on: between two transactions, and before every request that costs money.

        FencedError: another run has the batch. BatchStoppedError: somebody has asked the run to stop. LeaseUncertainError: the
        database could not be reached for so long that another run may soon begin.
        """
        if self._lost is not None:
            raise self._lost
        if self._stop is not None:
            raise BatchStoppedError(f"BATCH_{self._stop.upper()}", "The run ends here; what is done stays.", self._stop)
        if self.is_uncertain:
            raise LeaseUncertainError(
                "LEASE_UNCERTAIN",
                f"The database could not be reached for {SAFE_SECONDS} s, so another run may take over the batch.",
            )

    def end(self) -> None:
        """The batch is finished or put aside, and nobody's any more: there is nothing left to renew or to lose."""
        self.is_over = True

    def lose(self, error: FencedError) -> None:
        """The batch is another run's, as `fence` found out."""
        self._lost = error
        self.alert()

    @property
    def is_uncertain(self) -> bool:
        """Whether it was not renewed for so long that it may lapse before anybody here notices."""
        return self._clock() - self._renewed > SAFE_SECONDS

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` once waiting makes no sense any more: the run is to stop, or the lease became uncertain."""
        self._listeners.append(listener)
        if self._stop is not None:
            listener()

    def alert(self) -> None:
        """Wake everybody who listens."""
        for listener in list(self._listeners):
            listener()


@dataclass(slots=True)
class Place:
    """Where a phase is: the file, and the first and last row in hand, as far as there are rows."""

    import_id: int
    path: str
    first_row: int | None = None
    last_row: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored with a failure."""
        return {"import": self.import_id, "path": self.path, "first_row": self.first_row, "last_row": self.last_row}


@dataclass(slots=True)
class BatchWork:
    """A batch as a stage sees it: what to work on, under which lease, with which choices. `place` is told with an error."""

    id: int
    partition_key: str
    run_id: str
    phase: str
    settings: BatchSettings
    lease: Lease
    deadline: float = float("inf")
    """When the phase gives up, by the clock `monotonic`."""
    place: Place | None = field(default=None)

    def write(
        self,
        database: Database,
        work: Callable[[psycopg.Connection], T],
        counters: Mapping[str, int] | None = None,
    ) -> T:
        """Do a piece of work in one fenced transaction, tried again where that can help; `counters` are noted with the batch.

        Raises what `work` raises, and FencedError where another run has the batch: then nothing was written.
        """

        def fenced(connection: psycopg.Connection) -> T:
            result = work(connection)
            self.lease.fence(connection, counters)
            return result

        return run_chunk(database, fenced)

    def commit(self, database: Database, work: Callable[[psycopg.Connection], T]) -> T:
        """`write`, then `heed`: the way of work that can stop between two transactions."""
        result = self.write(database, work)
        self.heed()
        return result

    def heed(self) -> None:
        """Raise if the phase may not go on: what `Lease.heed` raises, and PhaseError (PHASE_TIMEOUT) past its deadline."""
        self.lease.heed()
        if monotonic() > self.deadline:
            raise PhaseError(
                self.phase,
                "PHASE_TIMEOUT",
                "The phase took longer than HELIX_PHASE_TIMEOUT allows. What is done stays, and the next run goes on from there.",
                recoverable=True,
            )


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """A batch whose lease was just taken."""

    id: int
    settings: BatchSettings
    lease: Lease


def take_lease(connection: psycopg.Connection, partition_key: str, run_id: str, holder: object) -> HeldBatch | None:
    """Take the batch for a run, or take it again; None where another run has it, or nobody may have it any more."""
    token = uuid.uuid5(uuid.NAMESPACE_OID, run_id)
    row = connection.execute(
        load("lease_take"),
        {"key": partition_key, "token": token, "run_id": run_id, "seconds": LEASE_SECONDS, "holder": Jsonb(holder)},
    ).fetchone()
    if row is None:
        return None
    batch_id, config, stop_requested = row
    lease = Lease(batch_id, token)
    if stop_requested is not None:
        lease.ask(StopReason(stop_requested))
    return HeldBatch(batch_id, BatchSettings.from_json(config), lease)
