"""Batches are launched in their order, within the slots, and never two into one source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.storage.queue import (
    QueuedBatch,
    launch_next,
    plan_launches,
    record_run_end,
    requeue,
)
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.deployment import Deployment


def waiting(key: str, *sources: int) -> QueuedBatch:
    return QueuedBatch(key, key, 0, frozenset(sources))


def keys(batches: list[QueuedBatch]) -> list[str]:
    return [batch.partition_key for batch in batches]


def test_batches_are_launched_in_the_queues_order_as_slots_allow() -> None:
    queue = [waiting("a", 1), waiting("b", 2), waiting("c", 3)]
    assert keys(plan_launches(queue, frozenset(), 2)) == ["a", "b"]


def test_a_source_is_imported_by_one_batch_at_a_time_and_in_order() -> None:
    queue = [waiting("a", 1, 2), waiting("b", 2, 3), waiting("c", 3), waiting("d", 4)]
    assert keys(plan_launches(queue, frozenset(), 4)) == ["a", "d"]
    assert keys(plan_launches(queue, frozenset({1}), 4)) == ["d"]


@pytest.fixture
def queue(deployment: Deployment, tmp_path: Path) -> list[str]:
    """Three queued batches of different sources."""
    return [deployment.begin(tmp_path / f"{name}.csv", state=BatchState.QUEUED) for name in "abc"]


def launch(deployment: Deployment, slots: int) -> list[str]:
    with psycopg.connect(deployment.url) as connection:
        return [launched.partition_key for launched in launch_next(connection, slots)]


def test_launching_fills_the_slots_and_no_more(deployment: Deployment, queue: list[str]) -> None:
    assert launch(deployment, 2) == queue[:2]
    assert launch(deployment, 2) == []
    assert launch(deployment, 3) == queue[2:]
    assert deployment.batch(queue[0])["state"] == "launched"


def test_a_batch_of_higher_priority_goes_first(deployment: Deployment, queue: list[str]) -> None:
    deployment.query("UPDATE helix.import_batch SET priority = 5 WHERE partition_key = %s", [queue[2]])
    assert launch(deployment, 2) == [queue[2], queue[0]]


def test_a_lost_launch_is_queued_again_and_gets_another_run_key(deployment: Deployment, queue: list[str]) -> None:
    with psycopg.connect(deployment.url) as connection:
        [first] = launch_next(connection, 1)
    with psycopg.connect(deployment.url) as connection:
        assert requeue(connection, queue[0])
        assert not requeue(connection, queue[0])
        [again] = launch_next(connection, 1)
    assert again.partition_key == first.partition_key
    assert again.run_key != first.run_key


def end(deployment: Deployment, key: str, run_id: str, created: datetime) -> bool:
    with psycopg.connect(deployment.url) as connection:
        return record_run_end(connection, key, run_id, BatchState.ERROR, run_created=created, error={"code": "X"})


def test_only_the_run_that_works_on_a_batch_speaks_for_it(deployment: Deployment, queue: list[str]) -> None:
    now = datetime.now(UTC)
    deployment.query(
        "UPDATE helix.import_batch SET state = 'running', run_id = 'one', position = NULL WHERE partition_key = %s",
        [queue[0]],
    )
    assert not end(deployment, queue[0], "another", now)
    assert end(deployment, queue[0], "one", now)
    assert deployment.batch(queue[0])["state"] == "error"
    assert deployment.batch(queue[0])["error"] == {"code": "X"}


def test_a_late_word_of_an_earlier_run_does_not_end_a_new_launch(deployment: Deployment, queue: list[str]) -> None:
    launch(deployment, 1)
    now = datetime.now(UTC)
    assert not end(deployment, queue[0], "old", now - timedelta(hours=1))
    assert end(deployment, queue[0], "this launch's", now + timedelta(seconds=1))
