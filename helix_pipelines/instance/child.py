"""One supervised process: restarted with back-off when it dies, recognised later, ended with whatever it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

FIRST_DELAY = 0.5
"""Seconds before the first restart; doubled for each further one."""
LONGEST_DELAY = 30.0
CALM = 60.0
"""Seconds alive after which a child has recovered, and the next death counts as the first."""
LOG_LIMIT = 10 * 1024 * 1024
"""Bytes of a child's log before it becomes `<name>.log.1`: days of a quiet service, two files a child at most."""
POLL = 0.05
CLOCK_TOLERANCE = 1.0
"""Seconds by which two readings of a process's start may differ: it is counted from the boot, a wall clock time."""
PR_SET_PDEATHSIG = 1
OFFSPRING = "HELIX_OFFSPRING_OF"
"""Environment variable that all processes below a supervisor inherit; its value is the supervisor's home."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up now: between fork and exec nothing may be loaded


class ProcessMark(msgspec.Struct, frozen=True):
    """A process as another one can recognise it later: a pid alone may be anybody's by then."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """The mark of a running process. Raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether the very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < CLOCK_TOLERANCE and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class ChildSpec:
    """What to run. `environment` goes on top of ours; output is appended to `log`."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A process that is kept alive. Not thread-safe; `clock` gives seconds that only grow."""

    def __init__(self, spec: ChildSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.restarts = 0
        self.mark: ProcessMark | None = None
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due_at = 0.0
        self._delay = FIRST_DELAY

    @property
    def alive(self) -> bool:
        """Whether it runs right now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> ProcessMark:
        """Run the command. It is told to end when we die, also by SIGKILL; the terminal's Ctrl-C reaches only us."""
        rotate(self.spec.log)
        with self.spec.log.open("ab") as log:  # append mode, so that emptying the file by `rotate` works
            self._process = subprocess.Popen(
                list(self.spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.spec.environment},
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one prctl call, and it is made from a single thread
            )
        self._started_at = self._clock()
        self.mark = ProcessMark.of(self._process.pid)
        return self.mark

    def keep_alive(self) -> str | None:
        """Look after the child: to be called a few times a second. Tells in words what happened, None if nothing did.

        A dead child is started again after 0.5 s, doubling to 30 s; a minute alive makes it forgotten.
        """
        if self._process is None:
            return self._start_when_due()
        code = self._process.poll()
        if code is None:
            rotate(self.spec.log)
            return None
        lived = self._clock() - self._started_at
        if lived >= CALM:
            self._delay = FIRST_DELAY
        self._process = None
        self.mark = None
        return f"{self.spec.name} ended ({_ending(code)}) after {lived:.0f} s; {self._postpone()}. See {self.spec.log}."

    def _start_when_due(self) -> str | None:
        if self._clock() < self._due_at:
            return None
        try:
            self.start()
        except OSError as error:  # no memory or no process to be had now
            return f"{self.spec.name} could not be started ({error}); {self._postpone()}."
        self.restarts += 1
        return f"{self.spec.name} started again."

    def _postpone(self) -> str:
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY)
        self._due_at = self._clock() + delay
        return f"starts again in {delay:g} s"

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def await_end(self, timeout: float) -> None:
        """Wait for its end; SIGKILL after `timeout` seconds. What it started is left for `end_processes`."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.mark = None


def stop_children(children: Sequence[Child], timeout: float) -> None:
    """SIGTERM to all at once, as each of Dagster's takes seconds to end; SIGKILL to those left after `timeout` seconds."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + timeout
    for child in children:
        child.await_end(max(0.0, deadline - time.monotonic()))


def offspring(home: Path) -> list[ProcessMark]:
    """The processes that a supervisor of `home` started, directly or not, and that this account may look at."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(OFFSPRING) == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(ProcessMark(process.pid, process.create_time()))
    return found


def end_processes(marks: Iterable[ProcessMark], timeout: float, *, force: bool = False) -> list[ProcessMark]:
    """SIGTERM (not with `force`), then SIGKILL to those left after `timeout` seconds; gives those that were alive."""
    alive = [mark for mark in marks if mark.alive()]
    remaining = alive
    for how in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGKILL):
        for mark in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(mark.pid, how)
        deadline = time.monotonic() + timeout
        while (remaining := [mark for mark in remaining if mark.alive()]) and time.monotonic() < deadline:
            time.sleep(POLL)
    return alive


def rotate(log: Path, limit: int = LOG_LIMIT) -> None:
    """Keep a log that a process is writing below `limit` bytes: copy it to `<name>.1` and empty it in place.

    The writer keeps its descriptor, which is in append mode, so nothing has to be told to reopen; what it writes
    between copy and cut is lost.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size > limit:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _end_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
