"""Batches that wait for a service are put aside with the reason, and go on by themselves, one at a time while it is away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from helix_pipelines.resilience.errors import FencedError, UnavailableError
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.deferral import SHORTEST_WAIT, continue_due, defer
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.gates import reset_breaker
from helix_pipelines.storage.leases import take_lease
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.waiting import until

GATE = b"g" * 16
OTHER = b"o" * 16
DOWN = UnavailableError("SERVICE_DOWN", "The embedding service does not answer.", 30.0)


@dataclass
class Batches:
    """The batches of a database and the gates at which they wait."""

    database: Database
    runs: Iterator[int] = field(default_factory=itertools.count)

    def execute(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        with self.database.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def gate(self, breaker: str, key: bytes = GATE) -> None:
        """A gate whose breaker stands so."""
        self.execute(
            "INSERT INTO helix.gate (key_hash, service, breaker) VALUES (%s, 'embedding', %s)"
            " ON CONFLICT (key_hash) DO UPDATE SET breaker = EXCLUDED.breaker",
            key,
            breaker,
        )

    def begin(self, name: str, state: BatchState = BatchState.LAUNCHED) -> str:
        with self.database.transaction() as connection:
            file = FileRequest(f"/inbox/{name}.csv", "c", f"{name}.csv")
            return create_batch(connection, name, [file], BatchSettings(), state=state)

    def run(self, key: str, error: UnavailableError | None = DOWN, gate: bytes = GATE) -> None:
        """A run that ends as deferred, or well."""
        with phase(self.database, key, f"run-{next(self.runs)}", "embeddings") as batch:
            if error is not None:
                with self.database.transaction() as connection:
                    defer(connection, batch, error, gate)
        if error is None:
            self.execute(
                "UPDATE helix.import_batch SET state = 'done', lease_token = NULL WHERE partition_key = %s", key
            )

    def deferred(self, name: str, gate: bytes = GATE, priority: int = 0) -> str:
        """A batch that waits at a gate and is due."""
        key = self.begin(name)
        self.run(key, gate=gate)
        self.execute("UPDATE helix.import_batch SET priority = %s WHERE partition_key = %s", priority, key)
        self.make_due()
        return key

    def make_due(self) -> None:
        self.execute("UPDATE helix.import_batch SET retry_at = clock_timestamp() WHERE state = 'deferred'")

    def go_on(self) -> list[str]:
        with self.database.transaction() as connection:
            return continue_due(connection)

    def record(self, key: str) -> dict[str, Any]:
        return self.execute(
            "SELECT *, extract(epoch FROM retry_at - clock_timestamp()) AS wait FROM helix.import_batch"
            " WHERE partition_key = %s",
            key,
        )[0]


@pytest.fixture
def batches(migrated_url: str) -> Iterator[Batches]:
    database = Database(migrated_url)
    yield Batches(database)
    database.close()


class TestPuttingAside:
    def test_a_deferred_batch_knows_why_until_when_and_at_which_gate(self, batches: Batches) -> None:
        key = batches.begin("faq")
        batches.run(key)
        batch = batches.record(key)
        assert (batch["state"], batch["gate_key"], batch["lease_token"], batch["position"]) == (
            "deferred",
            GATE,
            None,
            None,
        )
        assert batch["error"] == {"code": "SERVICE_DOWN", "message": "The embedding service does not answer."}
        assert 20 < batch["wait"] <= 30

    def test_its_run_is_booked_as_deferred_and_not_as_done(self, batches: Batches) -> None:
        batches.run(batches.begin("faq"))
        [booked] = batches.execute("SELECT state, finished_at IS NOT NULL AS ended, error FROM helix.phase_run")
        assert booked == {"state": "deferred", "ended": True, "error": None}

    def test_a_batch_that_has_just_waited_is_not_run_again_at_once(self, batches: Batches) -> None:
        key = batches.begin("faq")
        batches.run(key, UnavailableError("SERVICE_DOWN", "down", 0.05))
        assert SHORTEST_WAIT - 1 < batches.record(key)["wait"] <= SHORTEST_WAIT

    def test_a_batch_for_which_a_person_has_to_decide_is_paused(self, batches: Batches) -> None:
        key = batches.begin("faq")
        batches.run(key, UnavailableError("BATCH_BUDGET_SPENT", "spent", None))
        batch = batches.record(key)
        assert (batch["state"], batch["retry_at"]) == ("paused", None)
        assert batches.go_on() == []

    def test_a_run_that_lost_its_batch_cannot_put_it_aside(self, batches: Batches) -> None:
        key = batches.begin("faq")
        with phase(batches.database, key, "orphan", "embeddings") as orphan:
            batches.execute("UPDATE helix.import_batch SET lease_expires_at = now() - interval '1 second'")
            with phase(batches.database, key, "retry", "embeddings"):
                with pytest.raises(FencedError), batches.database.transaction() as connection:
                    defer(connection, orphan, DOWN, GATE)
                assert batches.record(key)["state"] == "running"


class TestGoingOn:
    def test_a_batch_waits_until_it_is_due(self, batches: Batches) -> None:
        key = batches.begin("faq")
        batches.run(key)
        assert batches.go_on() == []
        batches.make_due()
        assert batches.go_on() == [key]
        assert batches.go_on() == []

    def test_it_goes_to_the_end_of_the_queue(self, batches: Batches) -> None:
        batches.gate("closed")
        deferred = [batches.deferred("a"), batches.deferred("b")]
        waiting = batches.begin("c", BatchState.QUEUED)
        assert batches.go_on() == deferred
        queue = batches.execute("SELECT partition_key FROM helix.import_batch WHERE state = 'queued' ORDER BY position")
        assert [line["partition_key"] for line in queue] == [waiting, *deferred]

    def test_it_runs_as_any_other_batch_then(self, batches: Batches) -> None:
        key = batches.deferred("faq")
        batches.go_on()
        batches.run(key, None)
        assert batches.record(key)["state"] == "done"

    def test_all_go_on_once_the_service_is_back(self, batches: Batches) -> None:
        batches.gate("closed")
        keys = [batches.deferred(name) for name in "abc"]
        assert sorted(batches.go_on()) == sorted(keys)

    @pytest.mark.parametrize("breaker", ["open", "half_open"])
    def test_while_it_is_away_one_finds_out_for_all(self, batches: Batches, breaker: str) -> None:
        batches.gate(breaker)
        keys = [batches.deferred(name) for name in "abc"]
        assert batches.go_on() == keys[:1]
        assert batches.go_on() == []
        batches.run(keys[0])
        batches.make_due()
        assert batches.go_on() == keys[:1]
        batches.gate("closed")
        assert batches.go_on() == keys[1:]

    def test_nobody_goes_on_at_a_gate_that_is_shut_until_an_operator_acts(self, batches: Batches) -> None:
        batches.gate("closed")
        batches.execute("UPDATE helix.gate SET shut_code = 'EMBEDDING_UNAUTHORIZED'")
        key = batches.deferred("faq")
        assert batches.go_on() == []
        with batches.database.transaction() as connection:
            reset_breaker(connection, GATE.hex())
        assert batches.go_on() == [key]

    def test_the_most_urgent_finds_out(self, batches: Batches) -> None:
        batches.gate("open")
        batches.deferred("a")
        urgent = batches.deferred("b", priority=5)
        assert batches.go_on() == [urgent]

    def test_while_one_runs_no_other_is_sent_after_it(self, batches: Batches) -> None:
        batches.gate("open")
        first, second = batches.deferred("a"), batches.deferred("b")
        batches.go_on()
        with phase(batches.database, first, "canary", "embeddings"):
            assert batches.go_on() == []
            batches.execute(
                "UPDATE helix.import_batch SET lease_expires_at = now() - interval '1 second' WHERE partition_key = %s",
                first,
            )
            assert batches.go_on() == [second], "whoever was killed finds out nothing"

    def test_one_that_waits_for_its_next_try_holds_back_no_other(self, batches: Batches) -> None:
        batches.gate("open")
        first, second = batches.deferred("a"), batches.deferred("b")
        assert batches.go_on() == [first]
        batches.execute(
            "UPDATE helix.import_batch SET retry_at = clock_timestamp() + interval '1 hour' WHERE partition_key = %s",
            first,
        )
        assert batches.go_on() == [second]

    def test_one_that_a_run_is_just_taking_is_left_to_it(self, batches: Batches, migrated_url: str) -> None:
        key = batches.deferred("faq")
        with ThreadPoolExecutor(1) as sensor, psycopg.connect(migrated_url) as run:
            assert take_lease(run, key, "a person's run", None) is not None
            going_on = sensor.submit(batches.go_on)
            until(lambda: self.is_blocked(batches))
            run.commit()
            assert going_on.result() == []
        batch = batches.record(key)
        assert (batch["state"], batch["run_id"], batch["position"]) == ("running", "a person's run", None)

    @staticmethod
    def is_blocked(batches: Batches) -> bool:
        """Whether a session of the database waits for another one's row."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(batches.execute(waiting))

    def test_each_gate_has_one_of_its_own(self, batches: Batches) -> None:
        batches.gate("open")
        batches.gate("open", OTHER)
        here = [batches.deferred(name) for name in "ab"]
        there = [batches.deferred(name, OTHER) for name in "cd"]
        assert batches.go_on() == [here[0], there[0]]

    def test_a_gate_that_is_open_holds_back_no_batch_of_another(self, batches: Batches) -> None:
        batches.gate("open")
        batches.gate("closed", OTHER)
        batches.deferred("a"), batches.deferred("b")
        there = [batches.deferred(name, OTHER) for name in "cd"]
        assert set(batches.go_on()) > set(there)

    def test_two_sensors_at_once_send_one(self, batches: Batches, migrated_url: str) -> None:
        batches.gate("open")
        keys = [batches.deferred(name) for name in "ab"]
        with psycopg.connect(migrated_url) as one, psycopg.connect(migrated_url) as other:
            assert continue_due(one) == keys[:1]
            other.execute("SET lock_timeout = 50")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                continue_due(other)
            other.rollback()
            one.commit()
            assert continue_due(other) == []
