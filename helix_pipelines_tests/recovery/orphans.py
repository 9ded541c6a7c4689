"""Runs in processes of their own that are stopped in the middle of their work, as if their host were cut off, and go on later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from helix_pipelines.instance.dagster_runs import RunHandle, RunStarter
from helix_pipelines_tests.deployment import Deployment

RUN_ENDS_WITHIN = 100.0
"""Seconds; loading Dagster takes two to twenty of them, and a lease lapses after twenty."""


def start_run(deployment: Deployment, key: str) -> RunHandle:
    """Begin a run on the batch; it goes on when this returns."""
    with RunStarter(deployment.settings) as runs:
        runs.use_database(deployment.url)
        return runs.start(key)


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
