"""Whether the process of a run lives, as Dagster's run monitoring is told; its lease is looked at in `test_recovery.py`."""

from __future__ import annotations

import os

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from msgspec.structs import replace

from helix_pipelines.definitions import definitions
from helix_pipelines.defs.jobs import VERIFICATION_JOB
from helix_pipelines.instance.run_launcher import HelixRunLauncher
from helix_pipelines.instance.run_workers import LaunchMark, uptime
from helix_pipelines.storage.holders import Holder
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.integration.dead_runs import health, make_run


@pytest.mark.parametrize(
    ("pid", "began", "expected"),
    [
        (os.getpid(), 0.0, WorkerStatus.RUNNING),
        (os.getpid(), -10_000.0, WorkerStatus.FAILED),
        (2**22 + 1, 0.0, WorkerStatus.FAILED),
    ],
    ids=["that began before it was announced", "that began after it was announced", "that is not there"],
)
def test_a_run_without_a_lease_is_judged_by_its_process(
    instance: dg.DagsterInstance, pid: int, began: float, expected: WorkerStatus
) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    moved = replace(LaunchMark.now(), uptime=uptime() + began)
    instance.add_run_tags(run_id, dict(moved.tags()))
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_engine_event(f"Started process for run (pid: {pid}).", run)
    assert health(instance, run_id)[0] is expected


def test_a_run_of_another_boot_is_gone_and_one_of_another_host_is_unknown_for_a_while(
    instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    instance.add_run_tags(run_id, dict(replace(LaunchMark.now(), launcher=replace(Holder.here(), boot="b")).tags()))
    assert health(instance, run_id)[0] is WorkerStatus.FAILED
    elsewhere = replace(LaunchMark.now(), launcher=replace(Holder.here(), host="another"))
    instance.add_run_tags(run_id, dict(elsewhere.tags()))
    assert health(instance, run_id)[0] is WorkerStatus.RUNNING
    instance.add_run_tags(run_id, dict(replace(elsewhere, wall=elsewhere.wall - 86_401).tags()))
    assert health(instance, run_id)[0] is WorkerStatus.FAILED


def test_runs_that_are_executed_elsewhere_are_not_judged(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(
        definitions().resolve_job_def(VERIFICATION_JOB), status=dg.DagsterRunStatus.STARTED
    )
    assert health(instance, run.run_id) == (WorkerStatus.RUNNING, "It is executed elsewhere.")


def test_a_database_that_does_not_answer_is_no_verdict(instance: dg.DagsterInstance) -> None:
    run_id = make_run(instance, dg.DagsterRunStatus.STARTED)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    launcher = HelixRunLauncher("postgresql+psycopg2://helix@127.0.0.1:9/none")
    launcher.register_instance(instance)
    result = launcher.check_run_worker_health(run)
    assert result.status is WorkerStatus.RUNNING
    assert "does not answer" in str(result.msg)
