"""One run works on a batch at a time, and whoever lost it cannot write."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec
import psycopg
import pytest

from helix_pipelines.resilience.errors import (
    BatchStoppedError,
    FencedError,
    HelixError,
    LeaseUncertainError,
    PhaseError,
)
from helix_pipelines.storage.batch_runs import BatchBusyError, BatchRun, phase
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.holders import Holder
from helix_pipelines.storage.leases import (
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    BatchWork,
    Lease,
    Place,
    StopReason,
    take_lease,
)
from helix_pipelines.storage.queue import launch_next


def lapse(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET lease_expires_at = now() - interval '1 second'")


def write_event(database: Database, batch: BatchWork) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO helix.event (kind) VALUES ('written by an orphan')")
        batch.lease.fence(connection)


def test_a_second_run_is_refused_while_the_first_one_lives(database: Database, key: str) -> None:
    with (
        phase(database, key, "one", "parsing"),
        pytest.raises(BatchBusyError, match="BATCH_BUSY"),
        phase(database, key, "two", "parsing"),
    ):
        pass


def test_the_same_run_takes_its_batch_again_for_its_next_phase(database: Database, key: str) -> None:
    with phase(database, key, "one", "parsing"):
        pass
    with phase(database, key, "one", "qa_pairs") as batch:
        assert batch.partition_key == key


def test_a_lapsed_lease_is_taken_over_and_its_old_holder_is_fenced(database: Database, key: str) -> None:
    with phase(database, key, "orphan", "parsing") as orphan:
        lapse(database)
        with phase(database, key, "retry", "parsing") as retry:
            with pytest.raises(FencedError, match="LEASE_LOST"):
                write_event(database, orphan)
            with database.transaction() as connection:
                retry.lease.fence(connection)
    with database.transaction() as connection:
        written = connection.execute("SELECT count(*) FROM helix.event WHERE kind = 'written by an orphan'").fetchone()
    assert written == (0,)


def test_a_failed_phase_lets_go_of_the_batch_and_is_booked_with_its_code(database: Database, key: str) -> None:
    with pytest.raises(HelixError), phase(database, key, "one", "parsing"):
        raise HelixError("STORE_UNREADABLE", "mount the store")
    with phase(database, key, "two", "parsing") as batch, database.transaction() as connection:
        booked = connection.execute(
            "SELECT run_id, attempt, state, error_code FROM helix.phase_run WHERE batch_id = %s ORDER BY id", [batch.id]
        ).fetchall()
    assert booked == [("one", 1, "failed", "STORE_UNREADABLE"), ("two", 2, "running", None)]


def test_progress_is_noted_with_the_fence(database: Database, key: str) -> None:
    with phase(database, key, "one", "embedding") as batch:
        for embedded in (10, 20):
            with database.transaction() as connection:
                batch.lease.fence(connection, {"embedded": embedded})
        with database.transaction() as connection:
            counters = connection.execute(
                "SELECT counters FROM helix.import_batch WHERE id = %s", [batch.id]
            ).fetchone()
    assert counters == ({"embedded": 20},)


def state_of(database: Database, key: str) -> tuple[str, str | None, str]:
    """The batch's state, its request to stop, and the state of its latest phase."""
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT b.state, b.stop_requested, p.state FROM helix.import_batch b JOIN helix.phase_run p ON p.batch_id = b.id"
            " WHERE b.partition_key = %s ORDER BY p.id DESC LIMIT 1",
            [key],
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(("request_", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_run_ends_after_the_transaction_in_which_it_is_asked_to_stop(
    database: Database, key: str, request_: str, state: str
) -> None:
    written: list[int] = []

    def work(batch: BatchWork) -> None:
        batch.commit(database, lambda _: written.append(1))
        with database.transaction() as connection:
            connection.execute("UPDATE helix.import_batch SET stop_requested = %s", [request_])
        batch.commit(database, lambda _: written.append(2))
        written.append(3)

    with pytest.raises(BatchStoppedError), phase(database, key, "one", "parsing") as batch:
        work(batch)
    assert written == [1, 2], "what was begun is finished, nothing else is"
    assert state_of(database, key) == (state, None, "stopped")


def test_a_launched_batch_that_is_to_stop_is_stopped_by_its_run_at_once(database: Database, key: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET stop_requested = 'pause'")
    with pytest.raises(BatchStoppedError), phase(database, key, "one", "parsing"):
        pytest.fail("the phase has begun")
    assert state_of(database, key) == ("paused", None, "stopped")


def test_a_run_whose_process_is_to_end_puts_its_batch_first(database: Database, key: str, tmp_path: Path) -> None:
    with database.transaction() as connection:
        create_batch(connection, "b", [FileRequest(str(tmp_path / "b.csv"), "c", "b.csv")], BatchSettings())
    run = BatchRun(database, "one")
    with pytest.raises(BatchStoppedError), run.phase(database, key, "parsing") as batch:
        batch.commit(database, lambda _: run.ask(StopReason.SHUTDOWN))
    run.close()
    assert state_of(database, key) == ("queued", None, "stopped")
    with database.transaction() as connection:
        launched = launch_next(connection, 1)
    assert [launch.partition_key for launch in launched] == [key]


def test_a_cancelled_batch_is_nobodys(database: Database, key: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET state = 'cancelled', position = NULL")
    with pytest.raises(HelixError, match=r"BATCH_CANCELLED.*helix queue retry"), phase(database, key, "one", "parsing"):
        pass


def test_the_lease_of_a_process_that_is_gone_needs_no_waiting(database: Database, key: str) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    gone = msgspec.structs.replace(Holder.here(), pid=int(dead.stdout))
    with database.transaction() as connection:
        assert take_lease(connection, key, "dead", msgspec.to_builtins(gone)) is not None
    begun = monotonic()
    with phase(database, key, "next", "parsing"):
        assert monotonic() - begun < LEASE_SECONDS / 2


def test_a_lease_that_another_process_may_hold_is_waited_for(database: Database, key: str) -> None:
    elsewhere = msgspec.structs.replace(Holder.here(), host="another-host")
    with database.transaction() as connection:
        assert take_lease(connection, key, "elsewhere", msgspec.to_builtins(elsewhere)) is not None
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lapse(database)

    run = BatchRun(database, "next", sleep=sleep)
    with run.phase(database, key, "parsing"):
        pass
    run.close()
    assert len(waits) == 3


def run_beside(database: Database, key: str, at_first_wait: Callable[[], None]) -> None:
    """A run of a batch that a process elsewhere holds; something happens while it waits for that one to be heard of."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        if not waits:
            at_first_wait()
        waits.append(seconds)

    run = BatchRun(database, "next", sleep=sleep)
    try:
        with run.phase(database, key, "parsing"):
            pass
    finally:
        run.close()
    assert waits


def held_elsewhere(database: Database, key: str) -> None:
    elsewhere = msgspec.structs.replace(Holder.here(), host="another-host")
    with database.transaction() as connection:
        assert take_lease(connection, key, "elsewhere", msgspec.to_builtins(elsewhere)) is not None


def end_as_paused(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            "UPDATE helix.import_batch SET state = 'paused', lease_token = NULL, stop_requested = NULL, holder = NULL"
        )


def test_a_batch_that_is_paused_while_a_run_waits_for_it_stays_paused(database: Database, key: str) -> None:
    held_elsewhere(database, key)
    with pytest.raises(BatchStoppedError, match="BATCH_PAUSE") as stopped:
        run_beside(database, key, lambda: end_as_paused(database))
    assert stopped.value.reason == StopReason.PAUSE
    with database.transaction() as connection:
        batch = connection.execute("SELECT state, run_id, lease_token FROM helix.import_batch").fetchone()
    assert batch == ("paused", "elsewhere", None)


def test_a_run_that_a_person_launches_while_the_batch_is_pausing_goes_on_with_it(database: Database, key: str) -> None:
    held_elsewhere(database, key)
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET stop_requested = 'pause'")
    run_beside(database, key, lambda: end_as_paused(database))
    assert state_of(database, key) == ("running", None, "done")


def test_a_run_that_a_person_launches_for_a_paused_batch_goes_on_with_it(database: Database, key: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET state = 'paused', position = NULL")
    with phase(database, key, "a person's", "parsing"):
        pass
    assert state_of(database, key) == ("running", None, "done")


def test_what_fails_after_the_batch_was_closed_is_told_as_what_it_is(database: Database, key: str) -> None:
    def work(batch: BatchWork) -> None:
        with database.transaction() as connection:
            connection.execute("UPDATE helix.import_batch SET state = 'done', lease_token = NULL, holder = NULL")
        batch.lease.end()
        raise MemoryError("the index build")

    with pytest.raises(MemoryError), phase(database, key, "one", "knowledge_base") as batch:
        work(batch)
    with database.transaction() as connection:
        booked = connection.execute("SELECT state, error_code FROM helix.phase_run").fetchall()
    assert booked == [("failed", "OUT_OF_MEMORY")]
    assert state_of(database, key)[0] == "done"


def test_the_heartbeat_outlives_the_phase_and_keeps_others_away(database: Database, key: str) -> None:
    run = BatchRun(database, "one")
    with run.phase(database, key, "parsing"):
        pass
    with pytest.raises(BatchBusyError), phase(database, key, "two", "parsing"):
        pass
    run.close()
    with phase(database, key, "two", "parsing"):
        pass


def test_a_run_that_cannot_renew_its_lease_stops_before_another_one_may_begin() -> None:
    now = [0.0]
    lease = Lease(1, uuid.uuid4(), clock=lambda: now[0])
    woken: list[bool] = []
    lease.listen(lambda: woken.append(True))
    lease.heed()
    now[0] = LEASE_SECONDS - HEARTBEAT_SECONDS + 0.1
    with pytest.raises(LeaseUncertainError):
        lease.heed()
    lease.alert()
    assert woken


def test_a_phase_gives_up_at_its_deadline_and_a_run_gives_way(database: Database, key: str) -> None:
    run = BatchRun(database, "one", phase_timeout=-1)
    with pytest.raises(PhaseError, match="PHASE_TIMEOUT"), run.phase(database, key, "parsing"):
        pass
    run.ask(StopReason.RUN_TIMEOUT)
    with pytest.raises(BatchStoppedError), run.phase(database, key, "parsing"):
        pass
    run.close()
    assert state_of(database, key) == ("queued", None, "stopped")


def test_a_failure_is_booked_with_place_advice_and_verdict(database: Database, key: str) -> None:
    def work(batch: BatchWork) -> None:
        batch.place = Place(7, "faq.csv", 1, 200)
        raise psycopg.errors.DiskFull("could not extend file")

    with pytest.raises(psycopg.errors.DiskFull), phase(database, key, "one", "parsing") as batch:
        work(batch)
    with database.transaction() as connection:
        booked = connection.execute(
            "SELECT error_code, recoverable, place, advice, error FROM helix.phase_run"
        ).fetchall()[-1]
    code, recoverable, place, advice, trace = booked
    assert (code, recoverable) == ("DISK_FULL", True)
    assert place == {"import": 7, "path": "faq.csv", "first_row": 1, "last_row": 200}
    assert "Free space" in advice
    assert "could not extend file" in trace


def test_an_unknown_partition_is_named(database: Database) -> None:
    with pytest.raises(HelixError, match=r"BATCH_UNKNOWN.*20000101"), phase(database, "20000101-x", "one", "parsing"):
        pass
