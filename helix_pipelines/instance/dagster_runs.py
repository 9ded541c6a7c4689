"""Running the real Dagster job now, without daemon or webserver: the way of `helix import`.

The run is executed by a child process (`instance/run_worker.py`). This module does not import Dagster, which takes a
second, so the parent is free to show progress at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from helix_pipelines.instance.dagster_home import dagster_environment, prepare_dagster_home
from helix_pipelines.settings import Settings

IMPORT_JOB = "import_batch_job"
STOP = signal.SIGUSR1
"""A person stops the run. SIGTERM and SIGINT are interruptions, after which Dagster would run it again by itself."""


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


def start_run(settings: Settings, database_url: str, partition_key: str, *, job: str = IMPORT_JOB) -> RunHandle:
    """Start a run of `job` on the batch and return at once.

    The run is an ordinary one: it shows in the UI under its job, and can be executed again from failure there. It goes on with
    what earlier runs of the batch have left to do, even if one of them was killed.
    """
    prepare_dagster_home(settings, database_url)
    run_id = str(uuid.uuid4())
    log = settings.home.absolute() / "logs" / "runs" / f"{partition_key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "helix_pipelines.instance.run_worker"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--partition", partition_key, "--run-id", run_id, "--job", job],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dagster_environment(settings, database_url)},
            start_new_session=True,  # Ctrl-C in a terminal reaches the command, which then stops the run in good order
        )
    return RunHandle(run_id, process, log)
