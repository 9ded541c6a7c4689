"""Runs in processes of their own that are stopped in the middle of their work, as if their host were cut off, and go on later."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from helix_pipelines.instance.dagster_home import dagster_url
from helix_pipelines.instance.dagster_runs import IMPORT_JOB, RunHandle, RunStarter
from helix_pipelines.instance.run_orders import DatabaseOrder, RunOrder, give
from helix_pipelines_tests.deployment import Deployment

RUN_ENDS_WITHIN = 100.0
"""Seconds; loading Dagster takes two to twenty of them, and a lease lapses after twenty."""


def start_run(deployment: Deployment, key: str) -> RunHandle:
    """Begin a run on the batch; it goes on when this returns."""
    with RunStarter(deployment.settings) as runs:
        runs.use_database(deployment.url)
        return runs.start(key)


def start_process(deployment: Deployment, key: str, command: Sequence[str]) -> RunHandle:
    """Begin a run in another program than `instance/run_worker.py`, which takes the same orders."""
    run_id = str(uuid.uuid4())
    log = deployment.settings.home / f"{run_id}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    with process.stdin as orders:
        give(orders, DatabaseOrder(dagster_url(deployment.url)))
        give(orders, RunOrder(key, run_id, IMPORT_JOB))
    return RunHandle(run_id, process, log)


@contextmanager
def standing_still(run: RunHandle) -> Iterator[None]:
    """All threads of a run's process stand still for a block, with whatever they have open."""
    os.kill(run.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(run.process.pid, signal.SIGCONT)


def ended(instance: dg.DagsterInstance, run: RunHandle) -> tuple[dg.DagsterRunStatus, str | None]:
    """Wait for the end of a run: its status and its outcome's tag."""
    run.wait(RUN_ENDS_WITHIN)
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None, run.log.read_text()
    return stored.status, stored.tags.get("helix/outcome")
