"""What a person may do to a batch in the queue. Each verb is called in a transaction of its own, and changes no other batch.

A batch that a run works on is asked to stop (`stop_requested`): the run ends after its current chunk, or at its start where it
has not begun. What was done is kept, whatever a verb does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row, dict_row

from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.positions import Spot, end_of_queue, spot_at
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import lock_queue
from helix_pipelines.storage.states import BatchState

StopRequest = Literal["pause", "cancel"]

UNFINISHED = (
    *(BatchState.RUNNING, BatchState.LAUNCHED, BatchState.QUEUED),
    *(BatchState.PAUSED, BatchState.DEFERRED, BatchState.ERROR),
)
"""The states that `queue_list` shows, in its order."""
UNDER_WAY = frozenset({BatchState.LAUNCHED, BatchState.RUNNING})
CANDIDATES = 1000
"""Latest batches among which the likeness of an unknown key is looked for."""
LIKENESSES = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a batch. `position` counts from 1 over the whole queue, None for a batch that is not queued."""

    batch: str
    state: BatchState
    priority: int
    stop_requested: StopRequest | None
    position: int | None

    def in_words(self) -> str:
        """A sentence for people."""
        if self.stop_requested is not None:
            when = "as soon as its run begins" if self.state == BatchState.LAUNCHED else "after its current chunk"
            end = BatchState.PAUSED if self.stop_requested == "pause" else BatchState.CANCELLED
            return f"Batch {self.batch} is {self.state}; it will be {end} {when}."
        place = f" at place {self.position:,}, with priority {self.priority}" if self.position is not None else ""
        return f"Batch {self.batch} is {self.state}{place}."


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch as it was when the verb began; nobody changes it until the transaction ends."""

    id: int
    state: str
    priority: int
    position: Decimal | None
    stop_requested: StopRequest | None


def pause(connection: psycopg.Connection, key: str) -> Standing:
    """Put a batch aside until a person resumes it; one that a run works on is paused after its current chunk.

    Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE for a batch that has ended.
    """
    batch = _find(connection, key)
    _refuse_cancelling(batch, key)
    if batch.state in UNDER_WAY:
        _ask_to_stop(connection, batch, "pause")
    elif batch.state in {BatchState.QUEUED, BatchState.DEFERRED}:
        _leave(connection, batch, BatchState.PAUSED)
    elif batch.state != BatchState.PAUSED:
        raise _refusal(key, batch, "only a batch that has not ended can be paused")
    return standing(connection, key)


def resume(connection: psycopg.Connection, key: str) -> Standing:
    """Let a paused or deferred batch go on: it goes to the end of the queue, and its run does what is left.

    A pause that was asked for and not heeded yet is withdrawn. Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE.
    """
    batch = _find(connection, key)
    _refuse_cancelling(batch, key)
    if batch.state in UNDER_WAY:
        _ask_to_stop(connection, batch, None)
    elif batch.state in {BatchState.PAUSED, BatchState.DEFERRED}:
        _enter(connection, batch)
    elif batch.state != BatchState.QUEUED:
        raise _refusal(
            key, batch, "a failed or cancelled batch goes on by `helix queue retry`, a done one needs nothing"
        )
    return standing(connection, key)


def retry(connection: psycopg.Connection, key: str) -> Standing:
    """Try a failed or cancelled batch again, with all its tries before it: it goes to the end of the queue.

    Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE.
    """
    batch = _find(connection, key)
    if batch.state in {BatchState.ERROR, BatchState.CANCELLED}:
        _enter(connection, batch)
    elif batch.state != BatchState.QUEUED:
        raise _refusal(key, batch, "only a failed or cancelled batch can be retried")
    return standing(connection, key)


def queue_again(connection: psycopg.Connection, key: str, priority: int | None = None) -> Standing:
    """Have an unfinished batch go on, whatever has stopped it, and with another priority where one is given.

    Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE.
    """
    go_on = retry if standing(connection, key).state == BatchState.ERROR else resume
    now = go_on(connection, key)
    return now if priority is None else set_priority(connection, key, priority)


def cancel(connection: psycopg.Connection, key: str) -> Standing:
    """End a batch without finishing it; one that a run works on is cancelled after its current chunk.

    What it has imported stays. Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE for a batch that is done.
    """
    batch = _find(connection, key)
    if batch.state in UNDER_WAY:
        _ask_to_stop(connection, batch, "cancel")
    elif batch.state == BatchState.DONE:
        raise _refusal(key, batch, "only a batch that is not done can be cancelled")
    elif batch.state != BatchState.CANCELLED:
        _leave(connection, batch, BatchState.CANCELLED)
    return standing(connection, key)


def promote(connection: psycopg.Connection, key: str) -> Standing:
    """Make a queued batch the first of all, whatever their priorities: it takes over the highest, and waits no longer.

    Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE.
    """
    batch = _find_queued(connection, key)
    _move(connection, batch, 1)
    connection.execute("UPDATE helix.import_batch SET retry_at = NULL WHERE id = %s", [batch.id])
    return standing(connection, key)


def reorder(connection: psycopg.Connection, key: str, place: int) -> Standing:
    """Put a queued batch at a place of the queue, 1 being the first and everything beyond the last the last.

    Its priority changes where the place asks for it, and no more than that. Raises UsageError: BATCH_UNKNOWN, QUEUE_STATE.
    """
    batch = _find_queued(connection, key)
    _move(connection, batch, place)
    return standing(connection, key)


def set_priority(connection: psycopg.Connection, key: str, priority: int) -> Standing:
    """Give a batch another priority; a queued one goes behind those that have it already.

    Raises UsageError: BATCH_UNKNOWN.
    """
    batch = _find(connection, key)
    if priority != batch.priority:
        position = end_of_queue(connection) if batch.state == BatchState.QUEUED else None
        _put(connection, batch, priority, position)
    return standing(connection, key)


def standing(connection: psycopg.Connection, key: str) -> Standing:
    """How a batch stands now. Raises UsageError (BATCH_UNKNOWN)."""
    row = connection.execute(load("queue_standing"), {"key": key}).fetchone()
    if row is None:
        raise _unknown(connection, key)
    state, priority, stop_requested, position = row
    return Standing(key, BatchState(state), priority, stop_requested, position)


def list_queue(connection: psycopg.Connection, limit: int) -> dict[str, Any]:
    """Everything that is not finished: `counts` by state, and `batches`, at most `limit` of each state.

    Queued batches are listed in their order, the others with the latest first. `age` is seconds since the batch was made.
    """
    states = [str(state) for state in UNFINISHED]
    rows: list[tuple[str, int]] = connection.execute(
        "SELECT state, count(*) FROM helix.import_batch WHERE state = ANY(%s) GROUP BY state", [states]
    ).fetchall()
    counts = dict(rows)
    with connection.cursor(row_factory=dict_row) as cursor:
        batches = cursor.execute(load("queue_list"), {"states": states, "limit": limit}).fetchall()
    return {"counts": {state: counts.get(state, 0) for state in states}, "batches": batches}


def _find(connection: psycopg.Connection, key: str) -> _Batch:
    """Lock the queue, then the batch."""
    lock_queue(connection)
    with connection.cursor(row_factory=class_row(_Batch)) as cursor:
        batch = cursor.execute(load("queue_find"), {"key": key}).fetchone()
    if batch is None:
        raise _unknown(connection, key)
    return batch


def _find_queued(connection: psycopg.Connection, key: str) -> _Batch:
    batch = _find(connection, key)
    if batch.state != BatchState.QUEUED:
        raise _refusal(key, batch, "only a queued batch has a place in the queue")
    return batch


def _unknown(connection: psycopg.Connection, key: str) -> UsageError:
    """Names the likeliest of the latest batches."""
    from difflib import get_close_matches  # only where somebody has mistyped

    rows: Sequence[tuple[str]] = connection.execute(
        "SELECT partition_key FROM helix.import_batch ORDER BY id DESC LIMIT %s", [CANDIDATES]
    ).fetchall()
    keys = [row[0] for row in rows]
    near = [known for known in keys if key and key.lower() in known][:LIKENESSES] or get_close_matches(
        key, keys, LIKENESSES
    )
    advice = f"Did you mean {' or '.join(near)}?" if near else "`helix queue list` has those that are not finished."
    return UsageError("BATCH_UNKNOWN", f"There is no batch {key!r}. {advice}")


def _refuse_cancelling(batch: _Batch, key: str) -> None:
    if batch.stop_requested == "cancel":
        raise UsageError(
            "QUEUE_STATE", f"Batch {key} is being cancelled; once it is, `helix queue retry` takes it up again."
        )


def _refusal(key: str, batch: _Batch, rule: str) -> UsageError:
    return UsageError("QUEUE_STATE", f"Batch {key} is in state {batch.state}: {rule}.")


def _ask_to_stop(connection: psycopg.Connection, batch: _Batch, request: StopRequest | None) -> None:
    connection.execute("UPDATE helix.import_batch SET stop_requested = %s WHERE id = %s", [request, batch.id])


def _leave(connection: psycopg.Connection, batch: _Batch, state: BatchState) -> None:
    connection.execute(load("queue_leave"), {"batch": batch.id, "state": str(state)})


def _enter(connection: psycopg.Connection, batch: _Batch) -> None:
    connection.execute(load("queue_enter"), {"batch": batch.id, "position": end_of_queue(connection)})


def _put(connection: psycopg.Connection, batch: _Batch, priority: int, position: Decimal | None) -> None:
    connection.execute(
        "UPDATE helix.import_batch SET priority = %s, position = %s WHERE id = %s", [priority, position, batch.id]
    )


def _move(connection: psycopg.Connection, batch: _Batch, place: int) -> None:
    assert batch.position is not None, "a queued batch has one"
    own = Spot(batch.priority, batch.position)
    spot = spot_at(connection, batch.id, own, place)
    if spot != own:
        _put(connection, batch, spot.priority, spot.position)
