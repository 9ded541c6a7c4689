"""Real Dagster runs on a real database, from the file to the pair that is found."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus, ReexecutionOptions
from dagster_postgres import PostgresRunStorage
from sqlalchemy import text

from helix_pipelines.defs.jobs import IMPORT_JOB
from helix_pipelines.instance.dagster_runs import RunHandle, RunStarter
from helix_pipelines.instance.dagster_storage import KEPT_SECONDS
from helix_pipelines.instance.run_execution import create_run, execute, job_pointer, tell_batch
from helix_pipelines.instance.run_failures import run_failure
from helix_pipelines_tests.deployment import Deployment

ROWS = 40
RUN = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    """Dagster on the deployment's database, with the instance files of the repository."""
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path) -> str:
    """A batch of one file."""
    return deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS))


def found(deployment: Deployment) -> int:
    [row] = deployment.query("SELECT count(*) AS pairs FROM helix.knowledge_base")
    return int(row["pairs"])


def import_batch(instance: dg.DagsterInstance, key: str) -> DagsterRunStatus:
    """Run the job in this process."""
    job = job_pointer(IMPORT_JOB)
    return execute(instance, job, create_run(instance, job, key, RUN))


def start_run(deployment: Deployment, key: str) -> RunHandle:
    """Run the job in a process of its own."""
    with RunStarter(deployment.settings) as runs:
        runs.use_database(deployment.url)
        return runs.start(key)


def steps(instance: dg.DagsterInstance, run: str) -> list[str]:
    """The steps that a run has started, in order."""
    records = instance.get_records_for_run(run, of_type=dg.DagsterEventType.STEP_START).records
    return [record.event_log_entry.get_dagster_event().step_key or "" for record in records]


def test_a_run_in_a_process_of_its_own_imports_a_file(deployment: Deployment, key: str) -> None:
    run = start_run(deployment, key)
    assert run.wait(100) == 0, run.log.read_text()
    assert deployment.batch(key)["state"] == "done"
    assert deployment.batch(key)["run_id"] == run.run_id
    assert found(deployment) == ROWS
    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_by_id(run.run_id)
        assert record is not None
        assert record.status is DagsterRunStatus.SUCCESS
        assert record.tags["dagster/partition"] == key
        assert record.remote_job_origin is not None
        assert record.remote_job_origin.location_name == "helix_pipelines"
        assert instance.get_dynamic_partitions("import_batches") == [key]


def test_a_materialization_carries_counts_files_and_lineage(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    assert import_batch(instance, key) is DagsterRunStatus.SUCCESS
    pairs = instance.get_latest_materialization_event(dg.AssetKey("qa_pairs"))
    assert pairs is not None
    assert pairs.asset_materialization is not None
    metadata = pairs.asset_materialization.metadata
    assert metadata["rows_read"].value == metadata["inserted"].value == metadata["dagster/row_count"].value == ROWS
    assert "faq.csv" in str(metadata["file_table"].value)
    assert "dagster/column_lineage" in metadata
    embedded = instance.get_latest_materialization_event(dg.AssetKey("embeddings"))
    assert embedded is not None
    assert embedded.asset_materialization is not None
    figures = embedded.asset_materialization.metadata
    assert figures["texts"].value == deployment.service.counters().texts
    assert figures["requests"].value == deployment.service.counters().requests


def test_a_refused_key_fails_the_embedding_and_reexecution_does_only_the_rest(
    deployment: Deployment, instance: dg.DagsterInstance, key: str
) -> None:
    deployment.service.set_faults(status=401)
    assert import_batch(instance, key) is DagsterRunStatus.FAILURE
    tell_batch(instance, deployment.url, key, RUN)
    assert deployment.batch(key)["state"] == "error"
    assert deployment.batch(key)["error"]["step"] == "embeddings"
    assert "401" in deployment.batch(key)["error"]["message"]
    assert found(deployment) == 0

    deployment.service.set_faults(status=None)
    options = ReexecutionOptions.from_failure(RUN, instance)
    tags = {"dagster/partition": key}  # which the UI copies from the failed run
    with dg.execute_job(job_pointer(IMPORT_JOB), instance, reexecution_options=options, tags=tags) as result:
        assert result.success
        assert steps(instance, result.run_id) == ["embeddings", "knowledge_base"]
    assert deployment.batch(key)["state"] == "done"
    assert found(deployment) == ROWS
    assert deployment.service.counters().texts_seen_twice == 0


def test_a_bad_file_is_rejected_and_its_neighbours_are_imported(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("colour,size\nred,1\n")
    key = deployment.begin(bad, deployment.write(tmp_path / "good.csv", 3))
    assert import_batch(instance, key) is DagsterRunStatus.SUCCESS
    states = deployment.query("SELECT state FROM helix.import_job ORDER BY id")
    assert [row["state"] for row in states] == ["rejected", "completed"]
    assert found(deployment) == 3


def test_a_partition_without_a_batch_fails_with_a_code(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    assert import_batch(instance, "no-such-batch") is DagsterRunStatus.FAILURE
    failure = run_failure(instance, RUN)
    assert failure["code"] == "BATCH_UNKNOWN"
    assert "no-such-batch" in failure["message"]


def test_a_process_that_waits_for_a_run_makes_the_tables_of_dagster(deployment: Deployment) -> None:
    with RunStarter(deployment.settings) as runs:
        runs.use_database(deployment.url)
    assert not list((deployment.settings.home / "logs" / "runs").iterdir()), "it said nothing"
    [row] = deployment.query("SELECT to_regclass('public.runs') IS NOT NULL AS made")
    assert row["made"]


@pytest.mark.recovery
def test_another_run_finishes_what_a_killed_one_began(deployment: Deployment, key: str) -> None:
    deployment.service.set_faults(latency=20)
    killed = start_run(deployment, key)
    deadline = time.monotonic() + 60
    while deployment.service.counters().requests == 0:
        assert time.monotonic() < deadline, killed.log.read_text()
        time.sleep(0.1)
    os.kill(killed.process.pid, signal.SIGKILL)
    assert killed.wait(10) == -signal.SIGKILL
    assert deployment.batch(key)["state"] == "running"

    deployment.service.set_faults(latency=0)
    deployment.query("UPDATE helix.import_batch SET lease_expires_at = now()")
    run = start_run(deployment, key)
    assert run.wait(100) == 0, run.log.read_text()
    assert deployment.batch(key)["state"] == "done"
    assert found(deployment) == ROWS
    [row] = deployment.query("SELECT count(*) AS decisions FROM helix.import_row")
    assert row["decisions"] == ROWS


def test_a_run_that_is_asked_to_stop_pauses_its_batch(deployment: Deployment, tmp_path: Path) -> None:
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=1)
    deployment.service.set_faults(latency=0.5)
    run = start_run(deployment, key)
    deadline = time.monotonic() + 60
    while deployment.service.counters().requests == 0:
        assert time.monotonic() < deadline, run.log.read_text()
        time.sleep(0.1)
    assert run.terminate(60) == 1, run.log.read_text()
    assert deployment.batch(key)["state"] == "paused"
    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_by_id(run.run_id)
        assert record is not None
        assert record.status is DagsterRunStatus.CANCELED


def test_dagster_uses_a_connection_again_and_survives_its_loss(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    backends = []
    for _ in range(2):
        with instance.run_storage.connect() as connection:
            backends.append(connection.execute(text("SELECT pg_backend_pid()")).scalar())
    assert backends[0] == backends[1]
    deployment.query("SELECT pg_terminate_backend(%s)", [backends[0]])
    time.sleep(KEPT_SECONDS)
    assert instance.get_runs_count() == 0
