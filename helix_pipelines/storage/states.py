"""The closed lists of states and the one table of a batch's transitions; database constraints are made from these."""

from __future__ import annotations

from enum import StrEnum


class BatchState(StrEnum):
    """Life of an import batch. Only `queued` batches have a position."""

    QUEUED = "queued"
    LAUNCHED = "launched"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    PAUSED = "paused"
    DEFERRED = "deferred"
    CANCELLED = "cancelled"


TRANSITIONS: dict[BatchState, frozenset[BatchState]] = {
    BatchState.QUEUED: frozenset(
        {BatchState.LAUNCHED, BatchState.RUNNING, BatchState.PAUSED, BatchState.CANCELLED, BatchState.ERROR}
    ),
    BatchState.LAUNCHED: frozenset(
        {BatchState.RUNNING, BatchState.QUEUED, BatchState.ERROR, BatchState.PAUSED, BatchState.CANCELLED}
    ),
    BatchState.RUNNING: frozenset(
        {BatchState.DONE, BatchState.ERROR, BatchState.PAUSED, BatchState.DEFERRED, BatchState.CANCELLED}
        | {BatchState.QUEUED}
    ),
    BatchState.ERROR: frozenset({BatchState.QUEUED, BatchState.LAUNCHED, BatchState.RUNNING, BatchState.CANCELLED}),
    BatchState.PAUSED: frozenset({BatchState.QUEUED, BatchState.LAUNCHED, BatchState.RUNNING, BatchState.CANCELLED}),
    BatchState.DEFERRED: frozenset({BatchState.QUEUED, BatchState.LAUNCHED, BatchState.RUNNING, BatchState.CANCELLED})
    | {BatchState.PAUSED},
    BatchState.DONE: frozenset({BatchState.QUEUED, BatchState.LAUNCHED, BatchState.RUNNING}),
    BatchState.CANCELLED: frozenset({BatchState.QUEUED}),
}
"""From each state to where. A finished or failed batch may run again: a person can materialize its partition."""


class ImportState(StrEnum):
    """Life of one file. `rejected` is the file's fault, `failed` is not; `unpacked` is an archive whose files became imports."""

    PENDING = "pending"
    STORED = "stored"
    PARSED = "parsed"
    COMPLETED = "completed"
    COMPLETED_WITH_QUARANTINE = "completed_with_quarantine"
    REJECTED = "rejected"
    FAILED = "failed"
    UNPACKED = "unpacked"


class PhaseState(StrEnum):
    """How an attempt at a phase went. `stopped` was asked for; `skipped` had to leave the batch to another run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DEFERRED = "deferred"
    STOPPED = "stopped"
    SKIPPED = "skipped"


class Decision(StrEnum):
    """What the ledger says of one record."""

    PENDING = "pending"
    INSERT = "insert"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    CLOSE = "close"
    QUARANTINE = "quarantine"


class EmbeddingState(StrEnum):
    """State of outside work on one text, domain or prompt."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class GenerationStatus(StrEnum):
    """A generation is filled while `building`, searched while `active`, kept or dropped when `retired`."""

    BUILDING = "building"
    ACTIVE = "active"
    RETIRED = "retired"
