"""Two runs on one batch: one wins, the other ends as skipped, and nothing is written or paid for twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from helix_pipelines.instance.dagster_runs import RunHandle
from helix_pipelines.storage.leases import LEASE_SECONDS
from helix_pipelines_tests.deployment import Deployment, deployment
from helix_pipelines_tests.recovery.kill_records import texts_in_flight, texts_unsaved
from helix_pipelines_tests.recovery.orphans import ended, standing_still, start_run
from helix_pipelines_tests.waiting import until

__all__ = ["deployment"]

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]
ROWS = 400
TEXTS_PER_REQUEST = 20
WON = (dg.DagsterRunStatus.SUCCESS, None)
SKIPPED = (dg.DagsterRunStatus.SUCCESS, "skipped")


@pytest.fixture
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path) -> str:
    """A batch whose embedding takes some seconds."""
    deployment.service.set_faults(latency=0.5)
    return deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=TEXTS_PER_REQUEST)


def assert_exact(deployment: Deployment, key: str, winner: RunHandle, rows: int = ROWS) -> None:
    batch = deployment.batch(key)
    assert (batch["state"], batch["run_id"], batch["stop_requested"]) == ("done", winner.run_id, None)
    [counted] = deployment.query(
        "SELECT (SELECT count(*) FROM helix.knowledge_base) AS served, (SELECT count(*) FROM helix.import_row) AS ledger"
    )
    assert counted == {"served": rows, "ledger": rows}


def test_of_two_runs_that_begin_at_once_one_works_and_one_is_skipped(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    runs = [start_run(deployment, key) for _ in range(2)]
    outcomes = {ended(instance, run): run for run in runs}
    assert set(outcomes) == {WON, SKIPPED}
    assert_exact(deployment, key, outcomes[WON])
    assert deployment.service.counters().texts_seen_twice == 0
    assert instance.get_materialized_partitions(dg.AssetKey("embeddings")) == {key}


def test_an_orphan_that_comes_back_finds_its_batch_taken_and_ends_as_skipped(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    orphan = start_run(deployment, key)
    until(lambda: deployment.service.counters().answered > 2, 100, "the orphan does not embed")
    with standing_still(orphan):
        stopped = time.monotonic()
        retry = start_run(deployment, key)
        until(lambda: deployment.batch(key)["run_id"] == retry.run_id, 100, "nobody takes over")
        assert time.monotonic() - stopped >= LEASE_SECONDS * 0.7, "a process that stands still has not lost its batch"
    assert ended(instance, orphan) == SKIPPED
    assert ended(instance, retry) == WON
    assert_exact(deployment, key, retry)
    arrivals = deployment.service.arrivals()
    on_their_way = texts_in_flight(arrivals, stopped) + texts_unsaved(arrivals, stopped)
    assert deployment.service.counters().texts_seen_twice <= on_their_way
    phases = deployment.query("SELECT phase, state FROM helix.phase_run WHERE run_id = %s ORDER BY id", [orphan.run_id])
    assert phases[-1] == {"phase": "embeddings", "state": "skipped"}


@pytest.mark.parametrize("into", [0.1, 0.3])
def test_an_orphan_that_stands_still_while_it_parses_holds_nobody_up(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, into: float
) -> None:
    rows = 30_000
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", rows))
    orphan = start_run(deployment, key)
    until(lambda: _is_parsing(deployment), 100, "the orphan does not parse")
    time.sleep(into)
    with standing_still(orphan):
        retry = start_run(deployment, key)
        assert ended(instance, retry) == WON, retry.log.read_text()
    assert ended(instance, orphan) == SKIPPED
    assert_exact(deployment, key, retry, rows)


def _is_parsing(deployment: Deployment) -> bool:
    return bool(deployment.query("SELECT 1 FROM helix.phase_run WHERE phase = 'parsed_rows' AND state = 'running'"))


def test_a_run_whose_batch_was_paused_before_it_began_ends_at_once(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    deployment.query("UPDATE helix.import_batch SET stop_requested = 'pause'")
    assert ended(instance, start_run(deployment, key)) == (dg.DagsterRunStatus.SUCCESS, "paused")
    assert (deployment.batch(key)["state"], deployment.batch(key)["stop_requested"]) == ("paused", None)
    assert deployment.service.counters().requests == 0
