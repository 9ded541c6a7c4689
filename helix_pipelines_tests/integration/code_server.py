"""Dagster's code server, and runs that are launched through it as its daemon does: processes to be killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from helix_pipelines.instance.run_execution import create_run, job_pointer
from helix_pipelines_tests.waiting import until


class LaunchedRun:
    """A run in a process of its own, below a code server."""

    def __init__(self, run_id: str, processes: list[psutil.Process]) -> None:
        self.run_id = run_id
        self._processes = processes

    def kill(self) -> None:
        """kill -9 of the run's process and of the code server at once, as nobody is left to notice."""
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._processes, timeout=10)


@contextmanager
def launched(
    instance: dg.DagsterInstance, job: str, key: str, run_id: str, begun: Callable[[], object]
) -> Iterator[LaunchedRun]:
    """A run on a partition, launched; the block begins once `begun` is true. What is left of it is killed at its end."""
    before = set(psutil.Process().children(recursive=True))
    target = WorkspaceFileTarget([str(Path(instance.root_directory) / "workspace.yaml")])
    with WorkspaceProcessContext(instance, target) as workspace:
        create_run(instance, job_pointer(job), key, run_id)
        instance.launch_run(run_id, workspace.create_request_context())
        until(begun)
        below = [process for process in psutil.Process().children(recursive=True) if process not in before]
        run = LaunchedRun(run_id, below)
        try:
            yield run
        finally:
            run.kill()
