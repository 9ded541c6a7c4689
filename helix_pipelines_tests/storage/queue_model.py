"""What the queue should do, as a list in memory, and the real one beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage import queue_verbs
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.queue import launch_next, requeue
from helix_pipelines.storage.queue_verbs import Standing

UNDER_WAY = {"launched", "running"}


@dataclass
class Modelled:
    """A batch as it should be. `delayed` is to be tried again later."""

    priority: int
    state: str = "queued"
    stop: str | None = None
    delayed: bool = False


@dataclass
class QueueModel:
    """The queue as a list of keys. Verbs return whether they are allowed."""

    batches: dict[str, Modelled] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)

    def in_state(self, state: str) -> list[str]:
        return [key for key, batch in self.batches.items() if batch.state == state]

    def enter(self, key: str, *, first: bool = False) -> None:
        """To the end of its priority's part of the queue, or to the beginning."""
        batch = self.batches[key]
        batch.state, batch.stop, batch.delayed = "queued", None, False
        least = batch.priority + 1 if first else batch.priority
        ahead = [other for other in self.queue if self.batches[other].priority >= least]
        self.queue.insert(len(ahead), key)

    def leave(self, key: str, state: str) -> None:
        batch = self.batches[key]
        batch.state, batch.stop, batch.delayed = state, None, False
        if key in self.queue:
            self.queue.remove(key)

    def add(self, key: str, priority: int) -> None:
        self.batches[key] = Modelled(priority)
        self.enter(key)

    def pause(self, key: str) -> bool:
        batch = self.batches[key]
        if batch.stop == "cancel" or batch.state in {"done", "error", "cancelled"}:
            return False
        if batch.state in UNDER_WAY:
            batch.stop = "pause"
        else:
            self.leave(key, "paused")
        return True

    def resume(self, key: str) -> bool:
        batch = self.batches[key]
        if batch.stop == "cancel" or batch.state in {"done", "error", "cancelled"}:
            return False
        batch.stop = None
        if batch.state in {"paused", "deferred"}:
            self.enter(key)
        return True

    def cancel(self, key: str) -> bool:
        batch = self.batches[key]
        if batch.state in UNDER_WAY:
            batch.stop = "cancel"
        elif batch.state != "done":
            self.leave(key, "cancelled")
        return batch.state != "done"

    def retry(self, key: str) -> bool:
        if self.batches[key].state in {"error", "cancelled"}:
            self.enter(key)
        return self.batches[key].state == "queued"

    def promote(self, key: str) -> bool:
        if not self.reorder(key, 1):
            return False
        self.batches[key].delayed = False
        return True

    def reorder(self, key: str, place: int) -> bool:
        if key not in self.queue:
            return False
        self.queue.remove(key)
        index = max(0, min(place - 1, len(self.queue)))
        batch = self.batches[key]
        if index > 0:
            batch.priority = min(batch.priority, self.batches[self.queue[index - 1]].priority)
        if index < len(self.queue):
            batch.priority = max(batch.priority, self.batches[self.queue[index]].priority)
        self.queue.insert(index, key)
        return True

    def set_priority(self, key: str, priority: int) -> bool:
        batch = self.batches[key]
        if batch.priority != priority:
            batch.priority = priority
            if key in self.queue:
                self.queue.remove(key)
                delayed = batch.delayed
                self.enter(key)
                batch.delayed = delayed
        return True

    def launch(self, max_running: int) -> list[str]:
        under_way = sum(batch.state in UNDER_WAY for batch in self.batches.values())
        ready = [key for key in self.queue if not self.batches[key].delayed]
        chosen = ready[: max(0, max_running - under_way)]
        for key in chosen:
            self.leave(key, "launched")
        return chosen

    def stopped(self, key: str, otherwise: str) -> str:
        """The state of a batch after its run or launch came to an end, heeding who asked for it."""
        return {"pause": "paused", "cancel": "cancelled"}.get(self.batches[key].stop or "", otherwise)


def add_batch(connection: psycopg.Connection, number: int, priority: int = 0) -> str:
    """A queued batch of a source of its own."""
    file = FileRequest(f"/{number}.csv", "c", f"{number}.csv")
    return create_batch(connection, f"b{number}", [file], BatchSettings(), priority=priority)


def start_run(connection: psycopg.Connection, key: str) -> None:
    """What taking the lease does to a batch."""
    connection.execute(
        "UPDATE helix.import_batch SET state = 'running', position = NULL, retry_at = NULL,"
        " lease_expires_at = clock_timestamp() + interval '1 hour' WHERE partition_key = %s AND state = 'launched'",
        [key],
    )


def end_run(connection: psycopg.Connection, key: str, state: str) -> None:
    """What the end of a run does to its batch, which heeds who asked it to stop."""
    connection.execute(
        "UPDATE helix.import_batch SET stop_requested = NULL, lease_expires_at = NULL,"
        " retry_at = CASE WHEN %(state)s = 'deferred' THEN clock_timestamp() + interval '1 hour' END,"
        " state = CASE stop_requested WHEN 'pause' THEN 'paused' WHEN 'cancel' THEN 'cancelled' ELSE %(state)s END"
        " WHERE partition_key = %(key)s AND state = 'running'",
        {"key": key, "state": state},
    )


class QueueMachine(RuleBasedStateMachine):
    """Every verb, launches and ends of runs, in any order, on an empty queue of the database at `url`."""

    url: str
    batches: Bundle[str] = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.model = QueueModel()
        self.connection = psycopg.connect(self.url, autocommit=True)
        self.connection.execute("TRUNCATE helix.import_batch, helix.import_job, helix.source, helix.collection CASCADE")

    def teardown(self) -> None:
        self.connection.close()

    def do(self, verb: Callable[[psycopg.Connection], Standing], key: str, *, allowed: bool) -> None:
        with self.connection.transaction():
            if not allowed:
                with pytest.raises(UsageError, match="QUEUE_STATE"):
                    verb(self.connection)
                return
            standing = verb(self.connection)
        batch = self.model.batches[key]
        place = self.model.queue.index(key) + 1 if key in self.model.queue else None
        told = (standing.batch, standing.state, standing.priority, standing.stop_requested, standing.position)
        assert told == (key, batch.state, batch.priority, batch.stop, place)

    @initialize(target=batches)
    def fill(self) -> Any:
        return multiple(*(self.add(priority) for priority in (0, 0, 1, 0, 0, 1)))

    @rule(target=batches, priority=st.integers(-1, 2))
    def add(self, priority: int) -> str:
        with self.connection.transaction():
            key = add_batch(self.connection, len(self.model.batches), priority)
        self.model.add(key, priority)
        return key

    @rule(key=batches)
    def pause(self, key: str) -> None:
        self.do(lambda connection: queue_verbs.pause(connection, key), key, allowed=self.model.pause(key))

    @rule(key=batches)
    def resume(self, key: str) -> None:
        self.do(lambda connection: queue_verbs.resume(connection, key), key, allowed=self.model.resume(key))

    @rule(key=batches)
    def cancel(self, key: str) -> None:
        self.do(lambda connection: queue_verbs.cancel(connection, key), key, allowed=self.model.cancel(key))

    @rule(key=batches)
    def retry(self, key: str) -> None:
        self.do(lambda connection: queue_verbs.retry(connection, key), key, allowed=self.model.retry(key))

    @rule(key=batches)
    def promote(self, key: str) -> None:
        allowed = self.model.promote(key)
        self.do(lambda connection: queue_verbs.promote(connection, key), key, allowed=allowed)
        if allowed:
            assert self.model.queue[0] == key

    @rule(key=batches, place=st.integers(-1, 8))
    def reorder(self, key: str, place: int) -> None:
        allowed = self.model.reorder(key, place)
        self.do(lambda connection: queue_verbs.reorder(connection, key, place), key, allowed=allowed)

    @rule(key=batches, priority=st.integers(-1, 2))
    def set_priority(self, key: str, priority: int) -> None:
        allowed = self.model.set_priority(key, priority)
        self.do(lambda connection: queue_verbs.set_priority(connection, key, priority), key, allowed=allowed)

    @rule(max_running=st.integers(1, 4))
    def launch(self, max_running: int) -> None:
        with self.connection.transaction():
            launches = launch_next(self.connection, max_running)
        assert [launch.partition_key for launch in launches] == self.model.launch(max_running)

    @precondition(lambda self: self.model.in_state("launched"))
    @rule(data=st.data())
    def lose_launch(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.model.in_state("launched")))
        after = self.model.stopped(key, "queued")
        with self.connection.transaction():
            assert requeue(self.connection, key) == after
            assert requeue(self.connection, key) is None
        self.model.enter(key, first=True) if after == "queued" else self.model.leave(key, after)

    @precondition(lambda self: self.model.in_state("launched"))
    @rule(data=st.data())
    def start_run(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.model.in_state("launched")))
        start_run(self.connection, key)
        self.model.batches[key].state = "running"

    @precondition(lambda self: self.model.in_state("running"))
    @rule(data=st.data(), state=st.sampled_from(["done", "error", "deferred"]))
    def end_run(self, data: st.DataObject, state: str) -> None:
        key = data.draw(st.sampled_from(self.model.in_state("running")))
        end_run(self.connection, key, state)
        self.model.leave(key, self.model.stopped(key, state))

    @precondition(lambda self: self.model.queue)
    @rule(data=st.data())
    def delay(self, data: st.DataObject) -> None:
        """A failed batch waits in the queue until it may be tried again."""
        key = data.draw(st.sampled_from(self.model.queue))
        self.connection.execute(
            "UPDATE helix.import_batch SET retry_at = clock_timestamp() + interval '1 hour' WHERE partition_key = %s",
            [key],
        )
        self.model.batches[key].delayed = True

    @invariant()
    def the_queue_is_as_it_should_be(self) -> None:
        lines = queue_verbs.list_queue(self.connection, limit=1000)["batches"]
        queued = [line for line in lines if line["state"] == "queued"]
        assert [line["batch"] for line in queued] == self.model.queue
        assert [line["position"] for line in queued] == [place + 1 for place in range(len(queued))]
        assert [line["not_before"] is not None for line in queued] == [
            self.model.batches[key].delayed for key in self.model.queue
        ]
        check_positions(self.connection)
        states = self.connection.execute(
            "SELECT partition_key, state, priority, stop_requested FROM helix.import_batch ORDER BY id"
        ).fetchall()
        assert states == [(key, batch.state, batch.priority, batch.stop) for key, batch in self.model.batches.items()]


def check_positions(connection: psycopg.Connection) -> None:
    """Queued batches and no others have a position, each its own; only batches under way are asked to stop."""
    row = connection.execute(
        "SELECT count(position) = count(DISTINCT position), bool_and((state = 'queued') = (position IS NOT NULL)),"
        " bool_and(stop_requested IS NULL OR state IN ('launched', 'running')) FROM helix.import_batch"
    ).fetchone()
    assert row is not None
    assert False not in row
