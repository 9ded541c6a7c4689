"""What the gate promises when something fails, with real processes: the service, a holder of a lease, the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.resilience.gate import LEASE_MARGIN
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.storage.schema import ensure_schema
from helix_pipelines_tests.databases import NOT_DURABLE, ThrowawayPostgres
from helix_pipelines_tests.fakes.accounting import OutageKind
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake_process
from helix_pipelines_tests.recovery.gate_fleet import Fleet, failures, probes, sent
from helix_pipelines_tests.recovery.gate_worker import Report, Task

pytestmark = [pytest.mark.recovery, pytest.mark.alone]
PROCESSES = 4
"""As many as there are workers."""
LIMITS = GateLimits(max_concurrency=8, failure_threshold=5, probe_cap_seconds=1.0)
REQUEST_TIMEOUT = 0.5
TEXTS_OF_A_REQUEST = 10
LEASE_SECONDS = 1.5
"""Of the tasks below that are killed: their timeout of 0.5 s and the gate's margin."""
NOTICED = 0.3
"""Seconds after which somebody has seen that he may go on."""


@pytest.fixture
def slow_service() -> Iterator[FakeEmbeddingService]:
    with running_fake_process({"dimensions": 16, "latency": 0.05}) as fake:
        yield fake


def embedding(database: str, service: str, worker: int, texts: int, limits: GateLimits = LIMITS) -> Task:
    """A worker's share of the texts."""
    return Task(
        kind="embed",
        database=database,
        service=service,
        limits=limits,
        threads=4,
        first=worker * texts,
        texts=texts,
        batch=TEXTS_OF_A_REQUEST,
        request_timeout=REQUEST_TIMEOUT,
    )


def killable(database: str, service: str, limits: GateLimits) -> Task:
    """A few texts, with leases that lapse soon."""
    return Task(
        kind="embed",
        database=database,
        service=service,
        limits=limits,
        threads=1,
        texts=10,
        timeout=LEASE_SECONDS - LEASE_MARGIN,
    )


def first_success(workers: Fleet, place: int) -> float:
    """The moment at which a worker sent the first request that was answered."""
    (report,) = workers.reports([place])
    assert failures([report]) == []
    return next(one.began for one in report.sent if one.code is None)


def breaker(database: str) -> str:
    """How the only gate's breaker stands."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT breaker FROM helix.gate").fetchone()
    assert row is not None
    return str(row[0])


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again, for 10 s at most."""
    gives_up = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < gives_up
        time.sleep(0.005)


def assert_an_outage_is_survived(
    database: str, workers: Fleet, fake: FakeEmbeddingService, kind: OutageKind, seconds: float, share: int
) -> None:
    """All that is asked of a dead service: what was in flight, the failures that it took to notice, one probe at a time."""
    workers.begin([embedding(database, fake.url, worker, share) for worker in range(PROCESSES)])
    fake.outage(kind, after=0.3, seconds=seconds)
    reports = workers.reports(range(PROCESSES))

    (outage,) = fake.counters().outages
    assert outage.ended is not None
    assert outage.first_success is not None
    tried = probes(reports)
    in_vain = [one for one in sent(reports) if one.code is not None]
    assert len(in_vain) <= LIMITS.max_concurrency + LIMITS.failure_threshold - 1 + len(tried)
    assert len(tried) >= 2
    assert all(earlier.released < later.granted for earlier, later in pairwise(tried))
    still_out = REQUEST_TIMEOUT if kind == "hang" else 0.0
    assert outage.first_success - outage.ended <= LIMITS.probe_cap_seconds + NOTICED + still_out
    # An answer on its way is lost with a connection that is cut: it was paid, and its sender cannot know.
    lost = LIMITS.max_concurrency * TEXTS_OF_A_REQUEST if kind == "refused" else 0
    assert_all_was_paid_once(reports, fake, PROCESSES * share, lost)


def assert_all_was_paid_once(reports: list[Report], fake: FakeEmbeddingService, texts: int, lost: int = 0) -> None:
    """All texts have been answered, and none twice but for as many as may have been lost."""
    assert failures(reports) == []
    counters = fake.counters()
    assert sum(report.answered for report in reports) == texts
    assert counters.texts_seen_twice <= lost
    assert counters.texts == texts + counters.texts_seen_twice


@pytest.mark.parametrize("kind", ["503", "refused", "hang"])
def test_a_dead_service_is_left_alone_and_used_again(
    migrated_url: str, workers: Fleet, slow_service: FakeEmbeddingService, kind: OutageKind
) -> None:
    assert_an_outage_is_survived(migrated_url, workers, slow_service, kind, seconds=2.0, share=300)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["503", "refused", "hang"])
def test_a_minute_without_service_is_survived(
    migrated_url: str, workers: Fleet, slow_service: FakeEmbeddingService, kind: OutageKind
) -> None:
    assert_an_outage_is_survived(migrated_url, workers, slow_service, kind, seconds=60.0, share=5_000)


@pytest.mark.parametrize("limit_headers", ["always", "refused"])
def test_limits_that_are_set_too_high_are_corrected_by_what_the_service_says(
    migrated_url: str, workers: Fleet, limit_headers: str
) -> None:
    """Each worker is refused once at most, even if only refusals name the limit."""
    period, limit = 1.0, 120
    configured = GateLimits(
        requests_per_minute=2 * limit * 60 / period, max_concurrency=PROCESSES, period_seconds=period
    )
    behaviour = {
        "dimensions": 16,
        "latency": 0.01,
        "rpm": limit,
        "limit_period": period,
        "limit_headers": limit_headers,
        "retry_after_form": "ms",
    }
    with running_fake_process(behaviour) as fake:
        tasks = [
            Task(kind="flood", database=migrated_url, service=fake.url, limits=configured, seed=worker, seconds=2.5)
            for worker in range(PROCESSES)
        ]
        reports = workers.run(tasks)
        arrivals = fake.arrivals()
    assert failures(reports) == []
    assert len(arrivals.with_status(429)) <= PROCESSES
    assert len(arrivals) > limit


def test_a_killed_holder_gives_its_place_back_by_the_end_of_its_lease(
    migrated_url: str, workers: Fleet, slow_service: FakeEmbeddingService
) -> None:
    task = killable(migrated_url, slow_service.url, GateLimits(max_concurrency=1))
    slow_service.set_faults(latency=30.0)
    workers.begin([task], [0])
    wait_until(lambda: slow_service.counters().in_flight == 1)
    workers.begin([task], [1])
    killed = workers.kill(0)
    slow_service.set_faults(latency=0.0)

    assert first_success(workers, 1) - killed <= LEASE_SECONDS + NOTICED


def test_a_killed_prober_gives_the_probe_back_by_the_end_of_its_lease(
    migrated_url: str, workers: Fleet, slow_service: FakeEmbeddingService
) -> None:
    task = killable(migrated_url, slow_service.url, replace(LIMITS, failure_threshold=1))
    slow_service.outage("503")
    workers.begin([task], [0])
    wait_until(lambda: breaker(migrated_url) == "open")
    slow_service.outage("hang")
    wait_until(lambda: breaker(migrated_url) == "half_open" and slow_service.counters().in_flight == 1)
    workers.begin([task], [1])
    killed = workers.kill(0)
    slow_service.end_outage()

    assert first_success(workers, 1) - killed <= LEASE_SECONDS + NOTICED


def test_a_restart_of_the_database_loses_nothing(tmp_path: Path, workers: Fleet) -> None:
    period, limit, share = 1.0, 100, 400
    limits = GateLimits(requests_per_minute=limit * 60 / period, max_concurrency=8, period_seconds=period)
    server = ThrowawayPostgres(tmp_path, NOT_DURABLE)
    behaviour = {"dimensions": 16, "latency": 0.02, "rpm": limit, "limit_period": period}
    try:
        database = server.start()
        ensure_schema(database)
        with running_fake_process(behaviour) as fake:
            tasks = [embedding(database, fake.url, worker, share, limits) for worker in range(PROCESSES)]
            began = workers.begin(tasks)
            time.sleep(max(0.0, began + 1.0 - time.monotonic()))
            EmbeddedPostgres.stop(server)
            server.start()
            restarted = time.monotonic()
            reports = workers.reports(range(PROCESSES))
            assert_all_was_paid_once(reports, fake, PROCESSES * share)
            assert len(fake.arrivals().with_status(429)) == 0
    finally:
        server.stop()
    assert next(one.began for one in sent(reports) if one.began > restarted) - restarted <= 5.0
