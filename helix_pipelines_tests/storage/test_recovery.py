"""A batch whose run failed is tried again where time can help, as long as there is progress; else its error tells the story."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queue import launch_next
from helix_pipelines.storage.recovery import LONGEST_WAIT, WORKER_LOST, FailedRun, RetryRules, settle_failed_run
from helix_pipelines.storage.states import BatchState

RULES = RetryRules(max_retries=2, backoff_base=60.0)
PASSES = {"code": "DATABASE_UNAVAILABLE", "message": "Bring it back.", "recoverable": True}
STAYS = {"code": "EMBEDDING_KEY_REFUSED", "message": "Set another key.", "recoverable": False}
LOST = {"code": WORKER_LOST, "message": "The process is gone.", "recoverable": True}


def batch(database: Database, key: str) -> dict[str, Any]:
    with database.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT *, extract(epoch FROM retry_at - clock_timestamp())::float8 AS due_in"
            " FROM helix.import_batch WHERE partition_key = %s",
            [key],
        ).fetchone()
    assert row is not None
    return row


def fail(database: Database, key: str, run_id: str, error: dict[str, Any], *, rows: int = 0) -> BatchState | None:
    """A run reads some more rows and fails; what becomes of its batch."""

    def work(work: BatchWork) -> None:
        work.commit(
            database,
            lambda connection: connection.execute(
                "UPDATE helix.import_job SET rows_read = rows_read + %s WHERE batch_id = %s", [rows, work.id]
            ),
        )
        raise psycopg.OperationalError("the connection is lost")

    with pytest.raises(psycopg.OperationalError), phase(database, key, run_id, "parsed_rows") as batch:
        work(batch)
    with database.transaction() as connection:
        return settle_failed_run(connection, FailedRun(key, run_id, datetime.now(UTC), error), RULES)


def test_what_passes_is_tried_again_after_a_wait_that_grows(database: Database, key: str) -> None:
    waits = []
    for number in range(2):
        assert fail(database, key, f"run-{number}", PASSES) is BatchState.QUEUED
        waits.append(batch(database, key)["due_in"])
    assert waits == [pytest.approx(120, abs=5), pytest.approx(240, abs=5)]


def test_without_progress_there_is_an_end_and_the_error_tells_every_try(database: Database, key: str) -> None:
    ends = [fail(database, key, f"run-{number}", PASSES) for number in range(3)]
    assert ends == [BatchState.QUEUED, BatchState.QUEUED, BatchState.ERROR]
    error = batch(database, key)["error"]
    assert error["code"] == "DATABASE_UNAVAILABLE"
    assert [(attempt["run"], attempt["phase"], attempt["code"]) for attempt in error["attempts"]] == [
        (f"run-{number}", "parsed_rows", "DATABASE_UNAVAILABLE") for number in range(3)
    ]
    assert all("Bring the database back" in attempt["advice"] for attempt in error["attempts"])
    with database.transaction() as connection:
        events = connection.execute(
            "SELECT payload ->> 'run' FROM helix.event WHERE kind = 'error.occurred' AND payload ->> 'batch' = %s",
            [key],
        ).fetchall()
    assert events == [("run-2",)]


def test_with_progress_there_is_none(database: Database, key: str) -> None:
    assert {fail(database, key, f"run-{number}", PASSES, rows=10) for number in range(6)} == {BatchState.QUEUED}
    assert batch(database, key)["fruitless"] == 0


def test_what_a_person_has_to_mend_is_an_error_at_once_whatever_was_done(database: Database, key: str) -> None:
    assert fail(database, key, "run", STAYS, rows=10) is BatchState.ERROR


def test_a_lost_worker_that_had_made_progress_is_replaced_at_once(database: Database, key: str) -> None:
    assert fail(database, key, "run", LOST, rows=10) is BatchState.QUEUED
    with database.transaction() as connection:
        assert [launch.partition_key for launch in launch_next(connection, 1)] == [key]


def test_a_batch_that_waits_for_its_next_try_is_not_launched_before(database: Database, key: str) -> None:
    fail(database, key, "run", PASSES)
    with database.transaction() as connection:
        assert launch_next(connection, 1) == []


def test_a_stop_that_a_person_asked_for_comes_before_another_try(database: Database, key: str) -> None:
    with pytest.raises(psycopg.OperationalError), phase(database, key, "run", "parsed_rows"):
        raise psycopg.OperationalError("the connection is lost")
    with database.transaction() as connection:
        connection.execute("UPDATE helix.import_batch SET stop_requested = 'cancel' WHERE partition_key = %s", [key])
        state = settle_failed_run(connection, FailedRun(key, "run", datetime.now(UTC), PASSES), RULES)
    assert state is BatchState.CANCELLED
    settled = batch(database, key)
    assert (settled["state"], settled["stop_requested"]) == ("cancelled", None)
    assert settled["finished_at"] is not None


def test_a_run_that_lost_its_batch_has_no_say(database: Database, key: str) -> None:
    with phase(database, key, "next", "parsed_rows"), database.transaction() as connection:
        assert settle_failed_run(connection, FailedRun(key, "orphan", datetime.now(UTC), PASSES), RULES) is None
    assert batch(database, key)["state"] == "running"


def test_the_wait_is_bounded() -> None:
    assert RULES.wait(50, lost=False) == LONGEST_WAIT
    assert RULES.wait(0, lost=True) == 0
