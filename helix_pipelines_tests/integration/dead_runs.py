"""Runs whose process is gone, and batches that they leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.launcher import WorkerStatus
from msgspec.structs import replace

from helix_pipelines.definitions import definitions
from helix_pipelines.defs.jobs import IMPORT_JOB, VERIFICATION_JOB
from helix_pipelines.instance.run_workers import PARTITION_TAG, LaunchMark, uptime
from helix_pipelines.storage.holders import Holder
from helix_pipelines_tests.deployment import Deployment


def make_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, key: str | None = None, **tags: str) -> str:
    """A run that Dagster shows with this status, launched by a process that is gone."""
    mark = replace(LaunchMark.now(), launcher=replace(Holder.here(), started=1), uptime=uptime() - 100)
    partition = {PARTITION_TAG: key} if key else {}
    job = definitions().resolve_job_def(IMPORT_JOB if key else VERIFICATION_JOB)
    return instance.create_run_for_job(job, status=status, tags={**mark.tags(), **partition, **tags}).run_id


def make_batch(deployment: Deployment, tmp_path: Path, state: str, run_id: str | None = None, **columns: Any) -> str:
    """A batch of which nothing was heard for ten minutes."""
    key = deployment.begin(tmp_path / "faq.csv")
    if state == "done":
        deployment.query("UPDATE helix.import_batch SET state = 'running' WHERE partition_key = %s", [key])
    columns |= {"state": state, "run_id": run_id}
    names = ", ".join(f"{name} = %s" for name in columns)
    deployment.query(
        f"UPDATE helix.import_batch SET {names}, lease_expires_at = now() - interval '10 minutes',"
        " launched_at = now() - interval '10 minutes' WHERE partition_key = %s",
        [*columns.values(), key],
    )
    return key


def health(instance: dg.DagsterInstance, run_id: str) -> tuple[WorkerStatus, str]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    result = instance.run_launcher.check_run_worker_health(run)
    return result.status, str(result.msg)


def status_of(instance: dg.DagsterInstance, run_id: str) -> tuple[dg.DagsterRunStatus, str | None]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status, run.tags.get("dagster/will_retry")
