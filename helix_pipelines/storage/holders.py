"""Who holds a lease: a process, told from any other that ever had its number, so that its death shows before the lease lapses."""

from __future__ import annotations

import os
import socket
from enum import StrEnum
from pathlib import Path

import msgspec

PROC = Path("/proc")
"""Linux's view of processes. Elsewhere nobody is ever judged, and leases lapse by the clock alone."""
STATE, STARTED = 0, 19
"""Fields of `/proc/<pid>/stat` behind the command's name: see proc_pid_stat(5)."""


class Verdict(StrEnum):
    """What can be said of a process from here."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Holder(msgspec.Struct, frozen=True):
    """A process by its host, the boot of that host, its number, and when it started in clock ticks since that boot.

    `space` is its pid namespace: in another one, as in another container, the same number means somebody else. Ticks do not
    move when the wall clock does.
    """

    host: str
    space: str
    boot: str
    pid: int
    started: int

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        return cls(socket.gethostname(), _space(), _boot(), os.getpid(), _started(os.getpid()) or 0)

    def verdict(self) -> Verdict:
        """Whether it lives: `gone` only where that is certain, `unknown` for a process that cannot be seen from here."""
        if not self.boot or self.host != socket.gethostname():
            return Verdict.UNKNOWN
        if self.boot != _boot():
            return Verdict.GONE
        if self.space != _space():
            return Verdict.UNKNOWN
        return Verdict.ALIVE if _started(self.pid) == self.started else Verdict.GONE


def _boot() -> str:
    """Identity of this boot of the machine, blank where the system has none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return str((PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started, in ticks; None where there is none, or only its zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[STATE] == "Z" else int(fields[STARTED])
