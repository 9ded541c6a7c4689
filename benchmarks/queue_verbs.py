"""The queue with very many batches in it: what each verb takes, and the first page of the list.

    python benchmarks/queue_verbs.py                      10,000 queued batches among 30,000 finished ones, 100 calls of each verb
    python benchmarks/queue_verbs.py --queued 1000 --calls 20
    python benchmarks/queue_verbs.py --plans              how PostgreSQL goes about the statements, too

Everything runs on an embedded PostgreSQL of its own. A call is a transaction on an open connection, commit included; the promise
is 50 ms with 10,000 queued batches. (A script of the name queue.py would stand in for Python's own module.)
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import psycopg

from helix_pipelines.storage import queue_verbs
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import launch_next, requeue
from helix_pipelines.storage.schema import ensure_schema
from helix_pipelines_tests.databases import ThrowawayPostgres

FINISHED_FOR_EACH = 3
FIRST_PAGE = 20
FILL = """
WITH collection AS (
    INSERT INTO helix.collection (name) VALUES ('benchmark') RETURNING id
), source AS (
    INSERT INTO helix.source (collection_id, name)
    SELECT c.id, 'source ' || n FROM collection c, generate_series(1, %(queued)s) n
    RETURNING id, substr(name, 8)::int AS n
), batch AS (
    INSERT INTO helix.import_batch (partition_key, name, state, position, priority)
    SELECT 'batch-' || n, 'batch', CASE WHEN n <= %(queued)s THEN 'queued' ELSE 'done' END,
           CASE WHEN n <= %(queued)s THEN n END, n %% 5
    FROM generate_series(1, %(queued)s::int * %(factor)s) n
    RETURNING id, substr(partition_key, 7)::int AS n
)
INSERT INTO helix.import_job (batch_id, source_id, path, mode, pipeline_version)
SELECT b.id, s.id, '/source-' || s.n, 'append', '1' FROM batch b JOIN source s ON s.n = (b.n - 1) %% %(queued)s + 1
"""
"""Batches of one file and one source each, at five priorities; for each queued one there are finished ones of its source."""

Call = Callable[[psycopg.Connection], object]


def add_file(connection: psycopg.Connection, number: int) -> str:
    """A new batch."""
    file = FileRequest(f"/new-{number}.csv", "benchmark", f"new {number}")
    return create_batch(connection, "new", [file], BatchSettings(), priority=number % 5)


def plan_calls(keys: list[str], calls: int, queued: int, chance: random.Random) -> dict[str, list[Call]]:
    """The calls of each verb, in the order in which they are made; each verb finds the batches in the state that it needs."""
    chosen = chance.sample(keys, calls)
    moved = chance.sample(keys, calls)
    return {
        "add": [partial(add_file, number=number) for number in range(calls)],
        "pause": [partial(queue_verbs.pause, key=key) for key in chosen],
        "resume": [partial(queue_verbs.resume, key=key) for key in chosen],
        "promote": [partial(queue_verbs.promote, key=key) for key in moved],
        "reorder": [partial(queue_verbs.reorder, key=key, place=chance.randint(1, queued)) for key in moved],
        "set priority": [partial(queue_verbs.set_priority, key=key, priority=9) for key in moved],
        "cancel": [partial(queue_verbs.cancel, key=key) for key in chosen],
        "retry": [partial(queue_verbs.retry, key=key) for key in chosen],
        "list": [partial(queue_verbs.list_queue, limit=FIRST_PAGE)] * calls,
        "launch and requeue": [launch_and_requeue] * calls,
    }


def launch_and_requeue(connection: psycopg.Connection) -> None:
    """What a tick of the queue's sensor does, and what undoes it."""
    for launch in launch_next(connection, 2):
        requeue(connection, launch.partition_key)


def measure(connection: psycopg.Connection, calls: list[Call]) -> list[float]:
    """Milliseconds of each call, sorted."""
    times = []
    for call in calls:
        began = perf_counter()
        with connection.transaction():
            call(connection)
        times.append(1000 * (perf_counter() - began))
    return sorted(times)


def show_plans(connection: psycopg.Connection) -> None:
    """Print how the statements are executed that look at more than one batch."""
    states = [str(state) for state in queue_verbs.UNFINISHED]
    statements: dict[str, dict[str, object]] = {
        "queue_standing": {"key": "batch-1"},
        "queue_neighbours": {"batch": 1, "skipped": 5000, "rows": 2},
        "queue_end": {},
        "queue_above": {"batch": 1, "position": 5000},
        "queue_list": {"states": states, "limit": FIRST_PAGE},
        "queue_waiting": {},
    }
    for name, parameters in statements.items():
        print(f"\n{name}")
        for (line,) in connection.execute(f"EXPLAIN (ANALYZE, COSTS off) {load(name)}".encode(), parameters):
            print(f"  {line}")


def main() -> None:
    """Fill the queue, call every verb, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=10_000, help="batches in the queue")
    parser.add_argument("--calls", type=int, default=100, help="calls of each verb")
    parser.add_argument("--plans", action="store_true", help="print the plans of the statements")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = ThrowawayPostgres(Path(folder))
        try:
            database = server.start()
            ensure_schema(database)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(FILL, {"queued": arguments.queued, "factor": 1 + FINISHED_FOR_EACH})
                connection.execute("ANALYZE")
                keys = [f"batch-{number}" for number in range(1, arguments.queued + 1)]
                for verb, calls in plan_calls(keys, arguments.calls, arguments.queued, random.Random(1)).items():
                    times = measure(connection, calls)
                    print(f"{verb:<20} p50 {times[len(times) // 2]:6.1f} ms   max {times[-1]:6.1f} ms", flush=True)
                if arguments.plans:
                    show_plans(connection)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
