"""Runs for `helix import` that execute the real stages in this process, without Dagster, and can be made to end early."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg

from helix_pipelines.instance.dagster_runs import RunHandle
from helix_pipelines.settings import Settings
from helix_pipelines_tests.stages import Stages

Ending = Callable[["StagedRuns", str, str], int]
"""What a run does: given the runs, the batch and the run's id, it works and returns the process's exit code."""


def finish(runs: StagedRuns, batch: str, run_id: str) -> int:
    """All stages."""
    runs.stages.finish(batch, run_id)
    return 0


def die_before_embedding(runs: StagedRuns, batch: str, run_id: str) -> int:
    """As kill -9 between two phases: nothing is booked, and the lease lives on."""
    runs.stages.decide(batch, run_id)
    return 137


def defer(runs: StagedRuns, batch: str, run_id: str) -> int:
    """The service is down for longer than the run waits."""
    runs.stages.decide(batch, run_id)
    runs.end(batch, "deferred")
    return 0


@dataclass
class StagedRuns:
    """Stands in for `RunStarter`; `endings` are used up one a run, `finish` follows."""

    stages: Stages
    endings: list[Ending] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def __call__(self, _settings: Settings) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def use_database(self, url: str) -> None:
        assert url == self.stages.url

    def start(self, batch: str) -> RunHandle:
        run_id = str(uuid.uuid4())
        self.started.append(batch)
        ending = self.endings.pop(0) if self.endings else finish
        code = ending(self, batch, run_id)
        process = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
        return RunHandle(run_id, process, Path("run.log"))

    def end(self, batch: str, state: str, error: str | None = None) -> None:
        """Leave the batch in a state, its lease given back, as a run does that ends in good order."""
        with psycopg.connect(self.stages.url) as connection:
            connection.execute(
                "UPDATE helix.import_batch SET state = %s, error = %s::jsonb, lease_expires_at = now()"
                " WHERE partition_key = %s",
                [state, error, batch],
            )
