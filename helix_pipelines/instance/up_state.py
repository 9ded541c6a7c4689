"""Whether a `helix up` runs for a home, where it is reached, and how another process ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from helix_pipelines.instance.child import ProcessMark, end_processes, offspring
from helix_pipelines.instance.home_files import is_locked, lock, make_folder, open_lock, read_file, write_file
from helix_pipelines.resilience.errors import SetupError

POLL = 0.05
LOCK_TIMEOUT = 0.5
"""Seconds to wait for those who only look whether the lock is held."""
STATE_TIMEOUT = 10.0
"""Seconds between taking the lock and the first state: one small file is written in between."""
STOP_TIMEOUT = 120.0
"""Seconds for an orderly end: two children, the processes of runs, the embedder, a checkpoint of the database."""
LEFTOVER_TIMEOUT = 10.0
"""Seconds for a process of a dead supervisor to end by itself."""


class UpState(msgspec.Struct, frozen=True, kw_only=True):
    """What `helix up` tells about itself, on the disk and in its JSON."""

    supervisor: ProcessMark
    ui: str
    inbox: str
    logs: str
    children: dict[str, ProcessMark] = {}
    ready: bool = False


def _folder(home: Path) -> Path:
    return home / "up"


@contextmanager
def only_supervisor(home: Path) -> Iterator[Callable[[UpState], None]]:
    """Be the one supervisor of a home for a block; yields the function that publishes its state.

    The kernel holds the lock, so a crash frees it at once. Raises SetupError (ALREADY_UP) where another one has it.
    """
    folder = _folder(home)
    make_folder(folder)
    descriptor = open_lock(folder / "lock")
    try:
        if not lock(descriptor, fcntl.LOCK_EX, timeout=LOCK_TIMEOUT):
            raise SetupError("ALREADY_UP", f"Helix is running for {home}. Stop it by `helix down`.")
        try:
            yield lambda state: write_file(folder / "state.json", msgspec.json.encode(state).decode())
        finally:
            (folder / "state.json").unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_up(home: Path) -> bool:
    """Whether a supervisor of this home lives."""
    return is_locked(_folder(home) / "lock")


def last_state(home: Path) -> UpState | None:
    """What the supervisor published last; that of a crashed one remains until the next start."""
    text = read_file(_folder(home) / "state.json")
    try:
        return msgspec.json.decode(text, type=UpState) if text else None
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # of another version of Helix


def running_state(home: Path, *, timeout: float = STATE_TIMEOUT) -> UpState | None:
    """The state of the living supervisor, None where there is none; waits for one that has only just started."""
    deadline = time.monotonic() + timeout
    while is_up(home):
        state = last_state(home)
        if state is not None and state.supervisor.alive():
            return state
        if time.monotonic() >= deadline:
            held = _folder(home) / "lock"
            raise SetupError(
                "UP_STATE_MISSING", f"Helix is running for {home}, but not telling where: find it with `fuser {held}`."
            )
        time.sleep(POLL)
    return None


def end_leftovers(home: Path) -> int:
    """End what a crashed supervisor left: its webserver and daemon. Runs that are being executed finish by themselves.

    The caller is the only supervisor. Gives how many processes were still there.
    """
    state = last_state(home)
    return len(end_processes(state.children.values(), LEFTOVER_TIMEOUT)) if state else 0


def stop(home: Path, *, timeout: float = STOP_TIMEOUT) -> bool:
    """End the supervisor of a home with all its processes, by force after `timeout` seconds; tells if there was one.

    What a crashed one left, running runs too, is ended as well.
    """
    state = running_state(home)
    if state is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.supervisor.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while is_up(home) and time.monotonic() < deadline:
            time.sleep(POLL)
        if is_up(home):
            end_processes([state.supervisor], LEFTOVER_TIMEOUT, force=True)
    end_leftovers(home)
    end_processes(offspring(home), LEFTOVER_TIMEOUT)
    return state is not None
