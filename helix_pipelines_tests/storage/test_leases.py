"""One run works on a batch at a time, and whoever lost it cannot write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines.resilience.errors import FencedError, HelixError
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.batch_runs import BatchBusyError, BatchRun, phase
from helix_pipelines.storage.leases import BatchWork, Lease, StopReason


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def key(database: Database, tmp_path: Path) -> str:
    with database.transaction() as connection:
        return create_batch(connection, "faq", [FileRequest(str(tmp_path / "a.csv"), "c", "a.csv")], BatchSettings())


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


def test_an_unknown_partition_is_named(database: Database) -> None:
    with pytest.raises(HelixError, match=r"BATCH_UNKNOWN.*20000101"), phase(database, "20000101-x", "one", "parsing"):
        pass
