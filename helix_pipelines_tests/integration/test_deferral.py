"""A service that is away or too dear for now: the run ends well, says so, and its batch goes on from where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from helix_pipelines.defs.jobs import IMPORT_JOB
from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.defs.sensors import retry_sensor
from helix_pipelines.instance.run_execution import create_run, execute, job_pointer
from helix_pipelines_tests.deployment import Deployment

ROWS = 30
FIRST = "00000000-0000-4000-8000-000000000001"
SECOND = "00000000-0000-4000-8000-000000000002"
EMBEDDINGS = dg.AssetKey("embeddings")


@pytest.fixture
def instance(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Dagster on the deployment's database, where nobody waits long for the service."""
    monkeypatch.setenv("HELIX_OUTAGE_PATIENCE", "0.3")
    monkeypatch.setenv("HELIX_EMBEDDING_BREAKER_TIMEOUT", "0.5")
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path) -> str:
    """A batch of one file, in requests of three texts."""
    return deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=3)


def run(instance: dg.DagsterInstance, key: str, run_id: str) -> DagsterRunStatus:
    job = job_pointer(IMPORT_JOB)
    return execute(instance, job, create_run(instance, job, key, run_id))


def outcome(instance: dg.DagsterInstance, run_id: str) -> str | None:
    stored = instance.get_run_by_id(run_id)
    assert stored is not None
    return stored.tags.get("helix/outcome")


def observation(instance: dg.DagsterInstance) -> dict[str, object]:
    [record] = instance.fetch_observations(EMBEDDINGS, limit=1).records
    seen = record.asset_observation
    assert seen is not None
    return {name: value.value for name, value in seen.metadata.items()}


def skipped(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [
        str(entry.dagster_event.step_key)
        for entry in instance.all_logs(run_id)
        if entry.dagster_event is not None and entry.dagster_event.event_type_value == "STEP_SKIPPED"
    ]


def tick(instance: dg.DagsterInstance) -> str:
    result = retry_sensor(dg.build_sensor_context(instance=instance), database=DatabaseResource())
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def test_an_outage_defers_the_batch_and_its_run_succeeds_without_materializing(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    deployment.service.outage("503")
    assert run(instance, key, FIRST) is DagsterRunStatus.SUCCESS
    assert outcome(instance, FIRST) == "deferred"
    assert skipped(instance, FIRST) == ["knowledge_base"]
    assert instance.get_materialized_partitions(EMBEDDINGS) == set()
    seen = observation(instance)
    assert (seen["state"], seen["code"]) == ("deferred", "SERVICE_DOWN")
    assert (seen["texts"], seen["cached"], seen["failed"], seen["pending"]) == (0, 0, 0, ROWS)
    batch = deployment.batch(key)
    assert batch["state"] == "deferred"
    assert batch["error"]["code"] == "SERVICE_DOWN"
    assert batch["lease_token"] is None
    assert tick(instance) == "No deferred batch is due."

    deployment.service.end_outage()
    deployment.query("UPDATE helix.import_batch SET retry_at = now()")
    assert key in tick(instance)
    assert deployment.batch(key)["state"] == "queued"
    assert run(instance, key, SECOND) is DagsterRunStatus.SUCCESS
    assert outcome(instance, SECOND) is None
    assert deployment.batch(key)["state"] == "done"
    assert instance.get_materialized_partitions(EMBEDDINGS) == {key}
    counters = deployment.service.counters()
    assert (counters.texts, counters.texts_seen_twice) == (ROWS, 0)


def test_a_budget_of_a_batch_is_not_passed_and_pauses_it_until_a_person_raises_it(
    deployment: Deployment, instance: dg.DagsterInstance, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_PRICES", "fake=1000000")
    monkeypatch.setenv("HELIX_BUDGET_PER_BATCH", "100")
    assert run(instance, key, FIRST) is DagsterRunStatus.SUCCESS
    assert outcome(instance, FIRST) == "paused"
    batch = deployment.batch(key)
    assert (batch["state"], batch["error"]["code"]) == ("paused", "BATCH_BUDGET_SPENT")
    spent = deployment.service.counters().tokens
    assert 0 < spent <= 100
    assert deployment.query("SELECT sum(cost)::float AS cost FROM helix.api_usage") == [{"cost": spent}]
    assert tick(instance) == "No deferred batch is due."

    monkeypatch.setenv("HELIX_BUDGET_PER_BATCH", "10000")
    assert run(instance, key, SECOND) is DagsterRunStatus.SUCCESS
    assert deployment.batch(key)["state"] == "done"
    assert deployment.service.counters().texts_seen_twice == 0


def test_the_budget_of_a_day_defers_the_batch_to_the_next(
    deployment: Deployment, instance: dg.DagsterInstance, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_PRICES", "fake=1000000")
    monkeypatch.setenv("HELIX_BUDGET_PER_DAY", "100")
    assert run(instance, key, FIRST) is DagsterRunStatus.SUCCESS
    batch = deployment.batch(key)
    assert (batch["state"], batch["error"]["code"]) == ("deferred", "DAY_BUDGET_SPENT")
    assert 0 < deployment.service.counters().tokens <= 100
    [due] = deployment.query(
        "SELECT retry_at AT TIME ZONE 'UTC' >= (now() AT TIME ZONE 'UTC')::date + 1 AS tomorrow FROM helix.import_batch"
    )
    assert due == {"tomorrow": True}


def test_a_service_that_was_never_up_defers_the_first_import(
    deployment: Deployment, instance: dg.DagsterInstance, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELIX_EMBEDDING_DIMENSIONS")
    monkeypatch.setenv("HELIX_EMBEDDING_BREAKER_THRESHOLD", "1")
    deployment.service.outage("503")
    assert run(instance, key, FIRST) is DagsterRunStatus.SUCCESS
    assert deployment.batch(key)["state"] == "deferred"
    assert observation(instance)["pending"] == ROWS
    deployment.service.end_outage()
    assert run(instance, key, SECOND) is DagsterRunStatus.SUCCESS
    assert deployment.batch(key)["state"] == "done"
