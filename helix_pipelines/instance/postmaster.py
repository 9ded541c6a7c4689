"""The server process of the embedded PostgreSQL: found, launched, waited for and ended.

A pid in `postmaster.pid` proves nothing: after a crash it may be anybody's. A process is ours if it is a `postgres`
whose working directory is the data folder (PostgreSQL's processes all change to it).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from helix_pipelines.instance.home_files import is_locked, lock, open_lock, read_file, tail
from helix_pipelines.instance.postgres_binaries import ENVIRONMENT, Binaries
from helix_pipelines.instance.postgres_cluster import disk_full
from helix_pipelines.instance.postgres_layout import Account, Layout
from helix_pipelines.resilience.errors import SetupError

POLL = 0.01
READY_TIMEOUT = 600.0
"""Seconds for a server to open: 0.05 s after a clean stop, minutes after a crash, as up to 2 GB of WAL are replayed."""
FAST_STOP_TIMEOUT = 60.0
"""Seconds for a fast shutdown, which writes a checkpoint of at most `shared_buffers`."""
IMMEDIATE_STOP_TIMEOUT = 10.0
"""Seconds for an immediate shutdown, and for leftovers of a crash to end by themselves; then SIGKILL."""
PORTS = range(15432, 25432)
"""Below the range that Linux gives to outgoing connections (32768 on), where a port is taken by chance now and then."""
PORT_ATTEMPTS = 50
LOG_LINES = 15


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` says."""

    pid: int
    data_dir: str
    port: int
    ready: bool


class PortTakenError(Exception):
    """Somebody else listens on the port that the server was launched with."""


def read_pid_file(data_dir: Path) -> PidFile | None:
    """The content of `postmaster.pid`; None where it is missing, incomplete or damaged."""
    lines = (read_file(data_dir / "postmaster.pid") or "").splitlines()
    try:
        pid, folder, _started, port, *rest = lines  # then: socket folder, listen address, shared memory, status
        return PidFile(int(pid), folder, int(port), ready="".join(rest[-1:]).strip() == "ready")
    except ValueError:
        return None


def find_postmaster(data_dir: Path) -> PidFile | None:
    """The running server of `data_dir`; None where the pid file is stale or its pid is another process by now."""
    noted = read_pid_file(data_dir)
    if noted is None or not _belongs(noted.pid, data_dir):
        return None
    return noted


def launch(binaries: Binaries, account: Account, layout: Layout, port: int) -> int:
    """Start a server that outlives us and give its pid. It has no socket but 127.0.0.1:`port`.

    Raises SetupError (POSTGRES_IN_USE) where processes that we cannot see use the data folder: another container's,
    say.
    """
    running = open_lock(layout.running_lock)
    try:
        if not lock(running, fcntl.LOCK_EX, timeout=1.0):
            raise _in_use(layout)
        server: list[str | Path] = [binaries.bin_dir / "postgres", "-D", layout.data_dir, "-p", str(port)]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with layout.start_log.open("w", encoding="utf-8") as log:
            # The shell ends at once, so the server is nobody's child and leaves no zombie to us.
            started = subprocess.run(
                ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *server],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=layout.folder,
                env=ENVIRONMENT,
                text=True,
                check=True,
                start_new_session=True,
                umask=0o077,
                pass_fds=(running,),  # all of the server's processes hold the lock from here on
                **account.identity,
            )
        return int(started.stdout)
    finally:
        os.close(running)


def wait_until_ready(layout: Layout, pid: int) -> int:
    """Wait for the server `pid` to accept connections; gives its port.

    Raises PortTakenError; SetupError: POSTGRES_START_FAILED with the end of its log, POSTGRES_DISK_FULL.
    """
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        noted = read_pid_file(layout.data_dir)
        if noted is not None and noted.pid == pid and noted.ready:
            return noted.port
        if not _alive(pid):
            # Its log collector, which ends last, may have the reason yet.
            _wait_released(layout, IMMEDIATE_STOP_TIMEOUT)
            raise _start_failure(layout)
        time.sleep(POLL)
    raise SetupError(
        "POSTGRES_START_FAILED",
        f"PostgreSQL (process {pid}) has not opened within {READY_TIMEOUT:.0f} s; it may still be recovering from a "
        "crash. Watch "
        f"{layout.log_dir} and start again. Its log ends:\n{recent_log(layout)}",
    )


def shut_down(layout: Layout) -> None:
    """End the server of `layout` if it runs: fast shutdown, then immediate, then by force. Returns when the last
    process is gone.

    Raises SetupError (POSTGRES_STOP_FAILED).
    """
    running = find_postmaster(layout.data_dir)
    if running is not None:
        for how, patience in ((signal.SIGINT, FAST_STOP_TIMEOUT), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, how)
            if _wait_released(layout, patience):
                return
    end_leftovers(layout)


def end_leftovers(layout: Layout) -> None:
    """End processes that outlived their postmaster and remove its pid file, which would keep a new one from starting.

    They end by themselves when they next wait for anything; a long statement is stopped. Nothing committed is lost: the
    next start recovers from the WAL. Raises SetupError (POSTGRES_STOP_FAILED).
    """
    for how in (signal.SIGQUIT, signal.SIGKILL):
        leftovers = _processes_in(layout.data_dir)
        for pid in leftovers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        if not leftovers or _wait_gone(leftovers, IMMEDIATE_STOP_TIMEOUT):
            break
    remaining = _processes_in(layout.data_dir)
    if remaining:
        raise SetupError(
            "POSTGRES_STOP_FAILED",
            f"The processes {', '.join(map(str, remaining))} of the database in {layout.data_dir} do not end, even by "
            "SIGKILL. The disk may "
            "be hanging; end them or restart the machine.",
        )
    if is_locked(layout.running_lock):
        raise _in_use(layout)
    (layout.data_dir / "postmaster.pid").unlink(missing_ok=True)


def free_ports(preferred: int | None) -> Iterable[int]:
    """Ports of 127.0.0.1 that nobody listens on: the one of the last start first."""
    start = int.from_bytes(os.urandom(2)) % len(PORTS)
    candidates = (PORTS[(start + step) % len(PORTS)] for step in range(PORT_ATTEMPTS))
    for port in (*(() if preferred is None else (preferred,)), *candidates):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                probe.close()
                yield port


def recent_log(layout: Layout) -> str:
    """The last lines that the server wrote since its latest start, wherever it wrote them."""
    logs = sorted(layout.log_dir.glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:]
    written = "\n".join(tail(path, LOG_LINES) for path in logs).splitlines()
    starts = [number for number, line in enumerate(written) if "starting PostgreSQL" in line]
    return "\n".join([*tail(layout.start_log, LOG_LINES).splitlines(), *written[starts[-1] if starts else 0 :]])


def _belongs(pid: int, data_dir: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return (
            process.name().startswith("postgres")
            and process.status() != psutil.STATUS_ZOMBIE
            and process.cwd() == str(data_dir)
        )
    except (psutil.Error, OSError, ValueError):
        return False  # gone, or not ours to look at: nobody whom we could have started


def _processes_in(data_dir: Path) -> list[int]:
    return [pid for pid in psutil.pids() if _belongs(pid, data_dir)]


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_gone(pids: list[int], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while any(_alive(pid) for pid in pids):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def _wait_released(layout: Layout, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while is_locked(layout.running_lock) or find_postmaster(layout.data_dir):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def _start_failure(layout: Layout) -> Exception:
    log = recent_log(layout)
    if "Address already in use" in log:
        return PortTakenError()
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return disk_full(layout.folder)
    return SetupError(
        "POSTGRES_START_FAILED",
        f"PostgreSQL ended while it started in {layout.data_dir}. Correct what its log says and start again. The log "
        f"ends:\n{log}",
    )


def _in_use(layout: Layout) -> SetupError:
    return SetupError(
        "POSTGRES_IN_USE",
        f"{layout.data_dir} is used by a PostgreSQL that this process cannot see: of another container, or of another "
        "account. Stop it "
        "there, or give each container its own HELIX_HOME and share one database by HELIX_DATABASE_URL.",
    )
