"""What an import makes of a database that fails: a clear error of a phase or a wait, and an exact result afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines_tests.databases import NOT_DURABLE, Databases, ThrowawayPostgres
from helix_pipelines_tests.deployment import Deployment, deployment
from helix_pipelines_tests.recovery.faulty_database import (
    Importing,
    begin_import,
    dropping_connections,
    postgres_processes,
    read_only,
)
from helix_pipelines_tests.recovery.orphans import start_run
from helix_pipelines_tests.recovery.victims import kill
from helix_pipelines_tests.waiting import until

__all__ = ["deployment"]

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(300)]
ROWS = 600
TEXTS_PER_REQUEST = 10
CONCURRENCY = 2
GOES_ON_WITHIN = 5.0
"""Seconds from the return of a killed database until something is embedded again, on a machine that is not busy."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrowawayPostgres]:
    """A server that these tests have for themselves."""
    server = ThrowawayPostgres(tmp_path_factory.mktemp("server"), NOT_DURABLE)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def migrated_url(server: ThrowawayPostgres) -> Iterator[str]:
    databases = Databases(server.start())
    url = databases.migrated()
    yield url
    server.start()
    databases.drop(url)


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A batch that takes some ten seconds to embed, in a deployment that does not wait long between two tries."""
    monkeypatch.setenv("HELIX_RETRY_BACKOFF_BASE", "1")
    monkeypatch.setenv("HELIX_EMBEDDING_MAX_CONCURRENCY", str(CONCURRENCY))
    deployment.service.set_faults(latency=0.3)
    return deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=TEXTS_PER_REQUEST)


def assert_exact(deployment: Deployment, key: str, rows: int = ROWS, breaks: int = 1) -> None:
    """Nothing is lost or doubled, and what was paid for twice was on its way in one of so many interruptions."""
    assert deployment.batch(key)["state"] == "done"
    [counted] = deployment.query(
        "SELECT (SELECT count(*) FROM helix.knowledge_base) AS served, (SELECT count(*) FROM helix.import_row) AS ledger,"
        " (SELECT inserted FROM helix.import_job) AS inserted"
    )
    assert counted == {"served": rows, "ledger": rows, "inserted": rows}
    counters = deployment.service.counters()
    assert counters.texts - counters.texts_seen_twice == rows
    assert counters.texts_seen_twice <= breaks * CONCURRENCY * TEXTS_PER_REQUEST
    assert 429 not in counters.statuses


def test_connections_that_are_dropped_in_the_middle_of_transactions_cost_nothing(
    deployment: Deployment, key: str
) -> None:
    with dropping_connections(deployment.url, "application_name = 'helix' AND xact_start IS NOT NULL") as dropped:
        importing = Importing(deployment, key, start_run(deployment, key))
        until(lambda: len(dropped) >= 5 or importing.run.poll() is not None, 100, "no transaction is hit")
    importing.finish()
    assert dropped
    assert_exact(deployment, key, breaks=len(dropped))


def test_all_connections_dropped_at_once_are_opened_again(deployment: Deployment, key: str) -> None:
    importing = begin_import(deployment, key)
    for _ in range(3):
        deployment.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        time.sleep(1)
    importing.finish()
    assert_exact(deployment, key, breaks=3)


@pytest.mark.parametrize("seconds", [10, pytest.param(30, marks=pytest.mark.campaign)])
def test_a_database_that_is_down_for_a_while_is_waited_for(
    server: ThrowawayPostgres, deployment: Deployment, key: str, seconds: int
) -> None:
    importing = begin_import(deployment, key)
    EmbeddedPostgres.stop(server)
    time.sleep(seconds)
    server.start()
    failures = importing.finish()
    assert {failure["code"] for failure in failures} <= {"DATABASE_UNAVAILABLE", "LEASE_UNCERTAIN"}
    assert all(failure["recoverable"] for failure in failures)
    assert_exact(deployment, key)


def test_a_killed_database_loses_nothing_and_is_used_again_at_once(
    server: ThrowawayPostgres, deployment: Deployment, key: str
) -> None:
    importing = begin_import(deployment, key)
    kill(postgres_processes(server))
    server.start()
    back, embedded = time.monotonic(), importing.embedded()
    until(lambda: importing.embedded() > embedded, 100, "nothing goes on")
    taken, load = time.monotonic() - back, os.getloadavg()[0] / (os.cpu_count() or 1)
    sys.stdout.write(f"goes on {taken:.1f} s after the database's return, at a load of {load:.1f} a processor\n")
    assert taken <= GOES_ON_WITHIN * max(1.0, load)
    importing.finish()
    assert_exact(deployment, key)


def test_a_database_that_takes_no_writes_is_waited_for_and_named(deployment: Deployment, key: str) -> None:
    importing = begin_import(deployment, key)
    with read_only(deployment.url):
        time.sleep(5)
    failures = importing.finish()
    sys.stdout.write(f"a database that takes no writes: {failures}\n")
    assert {failure["code"] for failure in failures} <= {"DATABASE_READ_ONLY", "DATABASE_UNAVAILABLE"}
    assert all(failure["recoverable"] and failure["advice"] for failure in failures)
    assert_exact(deployment, key)
