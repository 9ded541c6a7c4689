"""What happens by itself, tick by tick, on a real database."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from helix_pipelines.definitions import definitions
from helix_pipelines.defs.resources import DatabaseResource, InboxResource
from helix_pipelines.defs.schedules import hourly_verification
from helix_pipelines.defs.sensors import (
    batch_queue_sensor,
    failed_run_sensor,
    inbox_sensor,
    partial_run_sensor,
    terminated_run_sensor,
)
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.deployment import Deployment


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick_inbox(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance, cursor=cursor)
    result = inbox_sensor(context, database=DatabaseResource(), inbox=InboxResource())
    assert isinstance(result, dg.SensorResult)
    return result


def tick_queue(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    result = batch_queue_sensor(dg.build_sensor_context(instance), database=DatabaseResource())
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_a_dropped_file_becomes_a_queued_batch_with_a_partition(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_INBOX_STABLE_SECONDS", "0")
    deployment.write(deployment.inbox / "hr" / "faq.csv", 2)
    assert not tick_inbox(instance).dynamic_partitions_requests
    result = tick_inbox(instance)
    [request] = result.dynamic_partitions_requests or []
    [key] = request.partition_keys
    assert deployment.batch(key)["state"] == "queued"
    assert key in str(result.skip_reason)
    assert not tick_inbox(instance).dynamic_partitions_requests


def test_an_inbox_that_cannot_be_listed_fails_the_tick(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    deployment.inbox.rmdir()
    with pytest.raises(Exception, match="INBOX_UNREADABLE"):
        tick_inbox(instance)


def test_a_look_goes_on_after_the_cursor(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    deployment.write(deployment.inbox / "a.csv", 1)
    deployment.write(deployment.inbox / "b.csv", 1)
    result = tick_inbox(instance, cursor="a.csv")
    assert "1 files seen" in str(result.skip_reason)
    assert result.cursor == ""


def test_the_queue_launches_a_batch_on_its_partition_once(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    key = deployment.begin(deployment.inbox / "faq.csv", state=BatchState.QUEUED)
    result = tick_queue(instance)
    assert isinstance(result, dg.SensorResult)
    [request] = result.run_requests or []
    assert request.partition_key == key
    assert request.run_key is not None
    assert request.run_key.startswith(f"{key}/")
    [partitions] = result.dynamic_partitions_requests or []
    assert list(partitions.partition_keys) == [key]
    assert deployment.batch(key)["state"] == "launched"
    assert isinstance(tick_queue(instance), dg.SkipReason)


def make_run(instance: dg.DagsterInstance, key: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    job = definitions().resolve_job_def("import_batch_job")
    return instance.create_run_for_job(job, tags={"dagster/partition": key}, status=status)


def end_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, event: dg.DagsterEventType
) -> dg.RunStatusSensorContext:
    return dg.build_run_status_sensor_context(
        sensor_name="sensor",
        dagster_event=dg.DagsterEvent(event.value, run.job_name, message="The process is gone."),
        dagster_instance=instance,
        dagster_run=run,
    )


def working(
    deployment: Deployment, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> tuple[str, dg.DagsterRun]:
    """A batch that a run works on."""
    key = deployment.begin(deployment.inbox / "faq.csv")
    run = make_run(instance, key, status)
    deployment.query("UPDATE helix.import_batch SET state = 'running', run_id = %s", [run.run_id])
    return key, run


def test_a_batch_whose_worker_was_lost_waits_for_another_try(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    key, run = working(deployment, instance, dg.DagsterRunStatus.FAILURE)
    context = end_of_run(instance, run, dg.DagsterEventType.RUN_FAILURE).for_run_failure()
    failed_run_sensor(context, database=DatabaseResource())
    batch = deployment.batch(key)
    assert (batch["state"], batch["fruitless"]) == ("queued", 1)
    assert batch["error"]["code"] == "RUN_WORKER_LOST"
    assert isinstance(tick_queue(instance), dg.SkipReason), "it is not due yet"


def test_a_failed_run_fails_its_batch_in_the_end_and_says_why(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIX_MAX_RETRIES", "0")
    key, run = working(deployment, instance, dg.DagsterRunStatus.FAILURE)
    context = end_of_run(instance, run, dg.DagsterEventType.RUN_FAILURE).for_run_failure()
    failed_run_sensor(context, database=DatabaseResource())
    assert deployment.batch(key)["state"] == "error"
    assert deployment.batch(key)["error"]["code"] == "RUN_WORKER_LOST"
    assert any(f"helix queue retry {key}" in entry.message for entry in instance.all_logs(run.run_id))
    [event] = deployment.query("SELECT payload FROM helix.event WHERE kind = 'error.occurred'")
    assert event["payload"] == {"batch": key, "run": run.run_id, "code": "RUN_WORKER_LOST"}


def test_a_run_that_dagster_will_retry_leaves_its_batch_alone(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    key, run = working(deployment, instance, dg.DagsterRunStatus.FAILURE)
    run = run.with_tags({**run.tags, "dagster/will_retry": "true"})
    context = end_of_run(instance, run, dg.DagsterEventType.RUN_FAILURE).for_run_failure()
    failed_run_sensor(context, database=DatabaseResource())
    assert deployment.batch(key)["state"] == "running"


def test_a_terminated_run_pauses_its_batch(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    key, run = working(deployment, instance, dg.DagsterRunStatus.CANCELED)
    terminated_run_sensor(end_of_run(instance, run, dg.DagsterEventType.RUN_CANCELED), database=DatabaseResource())
    assert deployment.batch(key)["state"] == "paused"
    [told] = [entry.message for entry in instance.all_logs(run.run_id) if "is paused" in entry.message]
    assert f"helix queue resume {key}" in told, "the run's page says how the batch goes on"
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.tags["helix/outcome"] == "paused"


@pytest.mark.parametrize(("state", "after"), [("done", "done"), ("running", "paused")])
def test_a_successful_run_pauses_only_a_batch_that_it_did_not_finish(
    deployment: Deployment, instance: dg.DagsterInstance, state: str, after: str
) -> None:
    key, run = working(deployment, instance, dg.DagsterRunStatus.SUCCESS)
    deployment.query("UPDATE helix.import_batch SET state = %s", [state])
    partial_run_sensor(end_of_run(instance, run, dg.DagsterEventType.RUN_SUCCESS), database=DatabaseResource())
    assert deployment.batch(key)["state"] == after


def test_a_run_that_ended_by_itself_says_at_its_end_what_became_of_the_batch(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    key, run = working(deployment, instance, dg.DagsterRunStatus.SUCCESS)
    deployment.query("UPDATE helix.import_batch SET state = 'paused', run_id = NULL")
    instance.add_run_tags(run.run_id, {"helix/outcome": "paused"})
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    partial_run_sensor(end_of_run(instance, ended, dg.DagsterEventType.RUN_SUCCESS), database=DatabaseResource())
    assert deployment.batch(key)["state"] == "paused"
    told = instance.all_logs(run.run_id)[-1].message
    assert told.startswith(f"Batch {key} is paused. What is done stays.")
    assert f"helix queue resume {key}" in told


def test_verification_is_due_every_hour(instance: dg.DagsterInstance) -> None:
    result = hourly_verification.evaluate_tick(dg.build_schedule_context(instance))
    assert len(result.run_requests or []) == 1
    assert hourly_verification.cron_schedule == "17 * * * *"
