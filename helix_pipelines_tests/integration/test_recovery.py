"""A kill of the whole service: nobody is left to notice, and what was under way goes on without a person."""

from __future__ import annotations

import json
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from structlog.testing import capture_logs

from helix_pipelines.cli import main
from helix_pipelines.defs.jobs import IMPORT_JOB
from helix_pipelines.defs.partitions import IMPORT_BATCHES
from helix_pipelines.defs.recovery import recovery_sensor
from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.instance.recovery import opened_recovery
from helix_pipelines.instance.run_workers import PARTITION_TAG
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.recovery_plan import Finding, Remedy
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.integration.code_server import launched
from helix_pipelines_tests.integration.dead_runs import health, make_batch, make_run, status_of

NOTHING = "Nothing is stranded."
RUN = "00000000-0000-4000-8000-000000000001"


def tick(instance: dg.DagsterInstance) -> str:
    """What a look of the sensor says."""
    result = recovery_sensor(dg.build_sensor_context(instance), database=DatabaseResource())
    assert isinstance(result, dg.SensorResult)
    assert isinstance(result.skip_reason, dg.SkipReason)
    return str(result.skip_reason.skip_message)


@pytest.mark.recovery
def test_a_run_that_died_with_the_whole_service_is_failed_and_retried(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", 3))
    monkeypatch.setenv("HELIX_OUTAGE_PATIENCE", "300")
    deployment.service.outage("503")
    with launched(instance, IMPORT_JOB, key, RUN, lambda: deployment.service.counters().requests) as run:
        assert health(instance, RUN) == (WorkerStatus.RUNNING, "The run's process is alive: its lease holds.")
        deployment.query("UPDATE helix.import_batch SET lease_expires_at = now()")
        assert health(instance, RUN)[0] is WorkerStatus.RUNNING, "a heartbeat came late"
        assert tick(instance) == NOTHING
        run.kill()
        deployment.query("UPDATE helix.import_batch SET lease_expires_at = now() + interval '20 s'")
        assert health(instance, RUN)[0] is WorkerStatus.RUNNING
        assert tick(instance) == NOTHING
    deployment.query("UPDATE helix.import_batch SET lease_expires_at = now()")
    status, reason = health(instance, RUN)
    assert (status, "which had its lease, is gone" in reason) == (WorkerStatus.FAILED, True)
    assert f"retry_run {key} {RUN}: shown as failed, Dagster retries it." in tick(instance)
    ended = instance.get_run_by_id(RUN)
    assert ended is not None
    assert (ended.status, ended.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "true")
    assert deployment.batch(key)["state"] == "running"
    assert tick(instance) == NOTHING, "Dagster has the time to begin its retry"


def end_long_ago(deployment: Deployment, run_id: str) -> None:
    deployment.query("UPDATE runs SET end_time = extract(epoch FROM now()) - 100 WHERE run_id = %s", [run_id])


def test_a_run_that_died_before_it_began_is_retried_and_its_batch_waits_for_that(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    key = make_batch(deployment, tmp_path, "launched")
    run_id = make_run(instance, dg.DagsterRunStatus.STARTING, key)
    assert "whoever launched it is gone, and it never began" in tick(instance)
    assert status_of(instance, run_id) == (dg.DagsterRunStatus.FAILURE, "true")
    assert deployment.batch(key)["state"] == "launched"


def test_a_run_whose_batch_has_another_one_is_failed_and_not_retried(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    key = make_batch(deployment, tmp_path, "done", "another")
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED, key)
    assert f"fail_run {key} {run_id}: shown as failed." in tick(instance)
    assert status_of(instance, run_id) == (dg.DagsterRunStatus.FAILURE, "false")


def test_a_verification_that_died_is_retried(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    assert f"retry_run {run_id}: shown as failed, Dagster retries it." in tick(instance)


def test_a_batch_whose_retry_never_came_is_queued_again_and_dagster_does_not_retry_it_later(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    key = make_batch(deployment, tmp_path, "running", run_id)
    instance.add_run_tags(run_id, {PARTITION_TAG: key})
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run)
    assert status_of(instance, run_id)[1] == "true"
    assert "settle_batch" not in tick(instance), "Dagster has the time to retry it"
    end_long_ago(deployment, run_id)
    assert f"settle_batch {key} {run_id}: queued." in tick(instance)
    assert status_of(instance, run_id)[1] == "false"
    assert deployment.batch(key)["state"] == "queued"
    assert deployment.batch(key)["retry_at"] is not None
    assert tick(instance) == NOTHING


def test_a_batch_whose_run_dagster_has_deleted_is_queued_again(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    key = make_batch(deployment, tmp_path, "running", RUN)
    assert f"settle_batch {key} {RUN}: queued." in tick(instance)
    assert deployment.batch(key)["error"]["code"] == "RUN_WORKER_LOST"


def test_a_launch_that_came_to_nothing_is_queued_again_unless_a_person_paused_it(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    lost = make_batch(deployment, tmp_path, "launched")
    paused = make_batch(deployment, tmp_path, "launched", stop_requested="pause")
    tick(instance)
    assert [deployment.batch(key)["state"] for key in (lost, paused)] == ["queued", "paused"]


@pytest.mark.parametrize(("stop", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_stop_that_was_asked_for_is_done_although_the_run_died(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, stop: str, state: str
) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    key = make_batch(deployment, tmp_path, "running", run_id, stop_requested=stop)
    instance.add_run_tags(run_id, {PARTITION_TAG: key})
    assert f"stop_run {key} {run_id}: shown as canceled." in tick(instance)
    assert deployment.batch(key)["state"] == state
    assert status_of(instance, run_id) == (dg.DagsterRunStatus.CANCELED, None)


def test_partitions_are_put_right_every_few_minutes(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    key = make_batch(deployment, tmp_path, "done")
    make_run(instance, dg.DagsterRunStatus.NOT_STARTED, "busy")
    instance.add_dynamic_partitions(IMPORT_BATCHES, ["spare", "busy"])
    assert "removed" in tick(instance)
    assert set(instance.get_dynamic_partitions(IMPORT_BATCHES)) == {key, "busy"}
    instance.delete_dynamic_partition(IMPORT_BATCHES, key)
    context = dg.build_sensor_context(instance, cursor=str(time.time()))
    result = recovery_sensor(context, database=DatabaseResource())
    assert isinstance(result, dg.SensorResult)
    assert result.cursor == context.cursor
    assert instance.get_dynamic_partitions(IMPORT_BATCHES) == ["busy"]


def test_without_auto_recovery_it_is_only_told(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_AUTO_RECOVERY", "false")
    key = make_batch(deployment, tmp_path, "launched")
    assert f"requeue_batch {key} is left to `helix recover`" in tick(instance)
    assert deployment.batch(key)["state"] == "launched"


def test_a_deed_that_fails_keeps_no_other_from_being_done(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    lost = make_batch(deployment, tmp_path, "launched")
    settings = load_settings(env_file=None)
    with opened_recovery(settings, deployment.url) as recovery, capture_logs() as logs:
        findings = recovery.look(partitions=False)
        broken = Finding(Remedy.SETTLE_BATCH, "Made up.", "x" * 10, "no-uuid\0")
        deeds = recovery.act([broken, *findings])
    assert [entry["event"] for entry in logs] == ["recovery_failed"]
    assert [(deed.failed, deed.result.partition(":")[0]) for deed in deeds] == [(True, "ValueError"), (False, "queued")]
    assert deployment.batch(lost)["state"] == "queued"


def test_the_command_tells_and_does_the_same(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = make_batch(deployment, tmp_path, "launched")
    assert main(["recover", "--dry-run", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [found["remedy"] for found in told["found"]] == ["requeue_batch", "add_partition"]
    assert told["done"] == []
    assert deployment.batch(key)["state"] == "launched"
    assert main(["recover", "--json"]) == 0
    done = json.loads(capfd.readouterr().out)["done"]
    assert [(deed["batch"], deed["result"]) for deed in done] == [(key, "queued"), (key, "added")]
    assert main(["recover"]) == 0
    assert "Nothing is stranded." in capfd.readouterr().out
