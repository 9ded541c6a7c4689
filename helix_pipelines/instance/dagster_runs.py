"""Running the real Dagster job now, without daemon or webserver: the way of `helix import`.

The run is executed by a child process (`instance/run_worker.py`). This module does not import Dagster, which takes a
second, so the parent is free to show progress at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from helix_pipelines.instance.dagster_home import dagster_url, home_environment, write_instance_files
from helix_pipelines.instance.home_files import make_folder
from helix_pipelines.instance.run_orders import DatabaseOrder, RunOrder, give
from helix_pipelines.settings import Settings

IMPORT_JOB = "import_batch_job"
STOP = signal.SIGUSR1
"""A person stops the run. SIGTERM and SIGINT are interruptions, after which Dagster would run it again by itself."""
DISMISSAL_SECONDS = 30.0
"""For a process without a run to end: it finishes what it has begun in the database."""


@dataclass(frozen=True)
class RunHandle:
    """A run that is executed by a child process. Dagster knows it as `run_id`; what the process prints is in `log`."""

    run_id: str
    process: subprocess.Popen[bytes]
    log: Path

    def poll(self) -> int | None:
        """The exit code, None while the run goes on. 0 is success, 1 a failed or stopped run, -9 a killed process."""
        return self.process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        return self.process.wait(timeout)

    def terminate(self, timeout: float) -> int:
        """Ask the run to stop after the transaction that it is in; kill it where that takes longer than `timeout` seconds."""
        self.process.send_signal(STOP)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class RunStarter:
    """Starts the runs of one command. Entering it launches the process of the first, which loads Dagster while the command
    brings up what runs need; leaving it ends that process where there was no run. Runs go on after it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: DatabaseOrder | None = None
        self._spare: RunHandle | None = None

    def __enter__(self) -> Self:
        self._spare = self._launch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._spare is not None:
            self._dismiss(self._spare)

    def use_database(self, url: str) -> None:
        """Say where the database runs, before the first `start`. A waiting process makes Dagster's tables in it at once.

        Raises SetupError (DATABASE_URL_INVALID) for a URL that Dagster could not use.
        """
        self._database = DatabaseOrder(dagster_url(url))
        if self._spare is not None:
            _tell(self._spare, self._database)

    def start(self, partition_key: str, job: str = IMPORT_JOB) -> RunHandle:
        """Start a run of `job` on the batch and return at once.

        The run is an ordinary one: it shows in the UI under its job, and can be executed again from failure there. It goes on
        with what earlier runs of the batch have left to do, even if one of them was killed.
        """
        assert self._database is not None, "use_database comes first"
        run, self._spare = self._spare, None
        if run is None:
            run = self._launch()
            _tell(run, self._database)
        _tell(run, RunOrder(partition_key, run.run_id, job), is_last=True)
        return run

    def _launch(self) -> RunHandle:
        """A process that loads Dagster and waits for orders."""
        write_instance_files(self._settings)
        run_id = str(uuid.uuid4())
        log = self._settings.home.absolute() / "logs" / "runs" / f"{run_id}.log"
        make_folder(log.parent)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "helix_pipelines.instance.run_worker"],
                bufsize=0,  # an order that cannot be handed over is not tried again when the pipe is closed
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **home_environment(self._settings)},
                start_new_session=True,  # Ctrl-C in a terminal reaches the command, which then stops the run in good order
            )
        return RunHandle(run_id, process, log)

    def _dismiss(self, spare: RunHandle) -> None:
        """End a process that got no run; its log stays only if it says something."""
        if self._database is None:
            spare.process.kill()  # it was loading, or waiting: there is nothing to finish
        try:
            spare.process.communicate(timeout=DISMISSAL_SECONDS)  # closes its input, at which it ends
        except subprocess.TimeoutExpired:
            spare.process.kill()
            spare.process.wait()
        if not spare.log.stat().st_size:
            spare.log.unlink()


def _tell(run: RunHandle, order: DatabaseOrder | RunOrder, *, is_last: bool = False) -> None:
    orders = run.process.stdin
    assert orders is not None, "every worker is launched with a pipe"
    # A worker that has died already is noticed by whoever waits for its run, and its log says why.
    with contextlib.suppress(BrokenPipeError):
        give(orders, order)
    if is_last:
        orders.close()
