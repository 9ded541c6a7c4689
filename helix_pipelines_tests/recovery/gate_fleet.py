"""Processes that use one gate, seen from a test or a benchmark: they begin together, and any of them can be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from helix_pipelines_tests.recovery.gate_worker import PREPARED, Held, Report, Sent, Task

HEAD_START = 0.05
"""Seconds between the word that tells the moment and the moment itself, for the last worker to hear it."""


class Fleet:
    """Worker processes, `size` of them, started once for many tasks."""

    def __init__(self, size: int) -> None:
        self._workers = [_started() for _ in range(size)]

    def begin(self, tasks: Sequence[Task], places: Sequence[int] | None = None) -> float:
        """Give each task to a worker of its own, by default the first ones; returns the moment at which they begin."""
        workers = self._at(range(len(tasks)) if places is None else places)
        for worker, task in zip(workers, tasks, strict=True):
            _tell(worker, msgspec.json.encode(task).decode())
        for worker in workers:
            assert _hear(worker) == PREPARED
        moment = time.monotonic() + HEAD_START
        for worker in workers:
            _tell(worker, repr(moment))
        return moment

    def reports(self, places: Sequence[int]) -> list[Report]:
        """What the workers at these places did, when they have ended it."""
        return [msgspec.json.decode(_hear(worker), type=Report) for worker in self._at(places)]

    def run(self, tasks: Sequence[Task]) -> list[Report]:
        """Do tasks to their end."""
        self.begin(tasks)
        return self.reports(range(len(tasks)))

    def kill(self, place: int) -> float:
        """End a worker by SIGKILL; returns the moment. Its place is taken by a new one."""
        worker = self._workers[place]
        worker.kill()
        moment = time.monotonic()
        worker.communicate()
        self._workers[place] = _started()
        return moment

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()
            worker.communicate()

    def _at(self, places: Sequence[int]) -> list[subprocess.Popen[str]]:
        return [self._workers[place] for place in places]


@contextmanager
def fleet(size: int) -> Iterator[Fleet]:
    """Workers that end with the block."""
    workers = Fleet(size)
    try:
        yield workers
    finally:
        workers.close()


def sent(reports: Sequence[Report]) -> list[Sent]:
    """The requests of all, in their order."""
    return sorted((one for report in reports for one in report.sent), key=lambda one: one.began)


def probes(reports: Sequence[Report]) -> list[Held]:
    """The leases of probes, in their order."""
    return sorted(
        (lease for report in reports for lease in report.held if lease.is_probe), key=lambda lease: lease.granted
    )


def failures(reports: Sequence[Report]) -> list[str]:
    """Whatever ended a thread early."""
    return [failure for report in reports for failure in report.failed]


def _started() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "helix_pipelines_tests.recovery.gate_worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


def _hear(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().rstrip("\n")
