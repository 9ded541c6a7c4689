"""The queue obeys a person's verbs exactly, one at a time and sixteen at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage import queue_verbs
from helix_pipelines.storage.queue import launch_next, requeue
from helix_pipelines.storage.queue_verbs import list_queue
from helix_pipelines_tests.storage.queue_model import QueueMachine, add_batch, check_positions, end_run, start_run

CALLERS = 16
CALLS = 40


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the module's database, whose queue is empty."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE helix.import_batch, helix.import_job, helix.source, helix.collection CASCADE")
        yield connection


@pytest.mark.parametrize("examples", [8, pytest.param(300, marks=pytest.mark.campaign)])
def test_the_queue_is_that_of_the_model_after_every_step(database_url: str, examples: int) -> None:
    class Machine(QueueMachine):
        url = database_url

    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))


def call_at_random(url: str, keys: list[str], seed: int) -> int:
    """What one of many callers does; returns how many of its calls were not refused."""
    chance = random.Random(seed)
    done = 0
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(CALLS):
            key = chance.choice(keys)
            place, priority = chance.randint(1, len(keys)), chance.randint(0, 2)
            state = chance.choice(["error", "deferred"])
            calls: list[Callable[[], object]] = [
                partial(queue_verbs.pause, connection, key),
                partial(queue_verbs.resume, connection, key),
                partial(queue_verbs.cancel, connection, key),
                partial(queue_verbs.retry, connection, key),
                partial(queue_verbs.promote, connection, key),
                partial(queue_verbs.reorder, connection, key, place),
                partial(queue_verbs.set_priority, connection, key, priority),
                partial(launch_next, connection, 4),
                partial(requeue, connection, key),
                partial(start_run, connection, key),
                partial(end_run, connection, key, state),
                partial(list_queue, connection, 5),
            ]
            try:
                with connection.transaction():
                    chance.choice(calls)()
                done += 1
            except UsageError as error:
                if error.code != "QUEUE_STATE":
                    raise
    return done


def test_sixteen_callers_at_once_leave_the_queue_whole(database_url: str, connection: psycopg.Connection) -> None:
    with connection.transaction():
        keys = [add_batch(connection, number) for number in range(30)]
    with ThreadPoolExecutor(CALLERS) as callers:
        done = list(callers.map(lambda seed: call_at_random(database_url, keys, seed), range(CALLERS)))
    assert min(done) > 0
    check_positions(connection)
    queued = [line for line in list_queue(connection, 100)["batches"] if line["state"] == "queued"]
    assert [line["position"] for line in queued] == [place + 1 for place in range(len(queued))]


def test_two_who_promote_at_once_are_both_before_all_others(database_url: str, connection: psycopg.Connection) -> None:
    with connection.transaction():
        keys = [add_batch(connection, number, number % 3) for number in range(20)]

    def promote(key: str) -> None:
        with psycopg.connect(database_url) as own:
            queue_verbs.promote(own, key)

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(promote, keys[:CALLERS]))
    queued = [line["batch"] for line in list_queue(connection, 100)["batches"]]
    assert set(queued[:CALLERS]) == set(keys[:CALLERS])


def test_an_unknown_batch_is_refused_and_the_likeliest_named(connection: psycopg.Connection) -> None:
    key = add_batch(connection, 7)
    with pytest.raises(UsageError, match=f"BATCH_UNKNOWN: .*Did you mean {key}") as caught:
        queue_verbs.pause(connection, key[:-1])
    assert caught.value.code == "BATCH_UNKNOWN"
    with pytest.raises(UsageError, match=r"BATCH_UNKNOWN: .*helix queue list"):
        queue_verbs.pause(connection, "?")


def test_a_promoted_batch_is_launched_next_even_if_it_was_to_wait(connection: psycopg.Connection) -> None:
    keys = [add_batch(connection, number, priority) for number, priority in enumerate([9, 0, 0])]
    connection.execute("UPDATE helix.import_batch SET retry_at = now() + interval '1 hour'")
    assert launch_next(connection, 1) == []
    assert queue_verbs.promote(connection, keys[2]).priority == 9
    assert [launch.partition_key for launch in launch_next(connection, 3)] == [keys[2]]


def test_a_paused_batch_keeps_what_was_done(connection: psycopg.Connection) -> None:
    key = add_batch(connection, 1)
    connection.execute("UPDATE helix.import_batch SET counters = '{\"rows\": 7}', attempts = 2, progress = 5")
    queue_verbs.pause(connection, key)
    queue_verbs.resume(connection, key)
    kept = connection.execute("SELECT counters, attempts, progress FROM helix.import_batch").fetchone()
    assert kept == ({"rows": 7}, 2, 5)


def test_a_retried_batch_has_all_its_tries_before_it(connection: psycopg.Connection) -> None:
    key = add_batch(connection, 1)
    connection.execute(
        "UPDATE helix.import_batch SET state = 'error', position = NULL, error = '{\"code\": \"X\"}', fruitless = 3,"
        " retry_at = now() + interval '1 hour', finished_at = now()"
    )
    queue_verbs.retry(connection, key)
    row = connection.execute(
        "SELECT state, error, fruitless, retry_at, finished_at, launched_at FROM helix.import_batch"
    ).fetchone()
    assert row == ("queued", None, 0, None, None, None)


def test_moves_into_the_same_gap_never_run_out_of_room(connection: psycopg.Connection) -> None:
    keys = [add_batch(connection, number) for number in range(4)]
    for turn in range(200):
        assert queue_verbs.reorder(connection, keys[1 + turn % 2], 2).position == 2
    [(longest,)] = connection.execute("SELECT max(length(position::text)) FROM helix.import_batch").fetchall()
    assert longest < 100
    assert [line["batch"] for line in list_queue(connection, 10)["batches"]] == [keys[0], keys[2], keys[1], keys[3]]
