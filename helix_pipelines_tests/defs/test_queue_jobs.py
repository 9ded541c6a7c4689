"""The queue's verbs from Dagster's launchpad."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from helix_pipelines.definitions import definitions
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.deployment import Deployment


def launch(verb: str, **config: Any) -> dg.ExecuteInProcessResult:
    job = definitions().resolve_job_def(f"queue_{verb}_job")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config={"ops": {verb: {"config": config}}}, instance=instance, raise_on_error=False
        )


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the only step's output."""
    [output] = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


@pytest.fixture
def queue(deployment: Deployment) -> list[str]:
    """Three queued batches."""
    return [deployment.begin(deployment.inbox / f"{name}.csv", state=BatchState.QUEUED) for name in "abc"]


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("pause", "queued", "paused"),
        ("resume", "paused", "queued"),
        ("cancel", "queued", "cancelled"),
        ("retry", "error", "queued"),
    ],
)
def test_a_verb_moves_the_batch_and_says_so(
    deployment: Deployment, queue: list[str], verb: str, before: str, after: str
) -> None:
    if before != "queued":
        deployment.query(
            "UPDATE helix.import_batch SET state = %s, position = NULL WHERE partition_key = %s", [before, queue[0]]
        )
    result = launch(verb, batch=queue[0])
    assert result.success
    assert deployment.batch(queue[0])["state"] == after
    assert told(result)["state"] == after


def test_a_batch_is_put_at_its_place_and_before_all_others(deployment: Deployment, queue: list[str]) -> None:
    assert told(launch("reorder", batch=queue[2], place=2))["position"] == 2
    assert told(launch("promote", batch=queue[1]))["position"] == 1


def test_files_are_queued_with_their_priority(deployment: Deployment, queue: list[str]) -> None:
    path = deployment.write(deployment.inbox / "urgent.csv", 2)
    result = launch("add", paths=[str(path)], collection="support", priority=7)
    assert told(result)["position"] == 1
    key = told(result)["batch"]
    assert deployment.batch(key)["priority"] == 7
    again = launch("add", paths=[str(path)], collection="support", priority=0)
    assert (told(again)["batch"], told(again)["position"]) == (key, 4)


def test_what_cannot_be_imported_of_a_folder_is_left_out_and_logged(
    deployment: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = deployment.inbox / "exports"
    folder.mkdir()
    deployment.write(folder / "faq.csv", 2)
    (folder / "gone.csv").symlink_to("nosuch.csv")
    result = launch("add", paths=[str(folder)])
    assert result.success
    assert deployment.query("SELECT path FROM helix.import_job") == [{"path": str(folder / "faq.csv")}]
    assert f"Left out: {folder / 'gone.csv'} is a link to something that does not exist" in capfd.readouterr().err


@pytest.mark.parametrize(("verb", "code"), [("promote", "BATCH_UNKNOWN"), ("retry", "BATCH_UNKNOWN")])
def test_an_unknown_batch_fails_the_run_with_the_code(
    deployment: Deployment, queue: list[str], verb: str, code: str
) -> None:
    result = launch(verb, batch="no-such-batch")
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.metadata["code"].value == code


def test_the_audit_log_names_the_run(deployment: Deployment, queue: list[str]) -> None:
    result = launch("pause", batch=queue[0])
    [line] = deployment.query("SELECT changed FROM helix.audit_log WHERE actor = %s", [f"dagster run {result.run_id}"])
    assert set(line["changed"]) == {"state", "position"}
