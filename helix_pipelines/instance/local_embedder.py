"""The embedder of this machine, as a process of its own that everything in a home shares."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from helix_pipelines.instance.home_files import (
    exclusive_lock,
    is_locked,
    lock,
    make_folder,
    open_lock,
    read_file,
    tail,
    write_file,
)
from helix_pipelines.resilience.errors import SetupError

MODEL = "multilingual-e5-small"
DIMENSIONS = 384

SERVER = "helix_pipelines.embedding.local_server"
PACKAGE_PARENT = Path(__file__).resolve().parents[2]

POLL = 0.02
READY_TIMEOUT = 120.0
"""Seconds for the server to open: it reads 120 MB of weights, 1 s where they are in the page cache."""
ADOPT_TIMEOUT = 30.0
"""Seconds for a server that runs already, maybe only just; one that is silent for longer hangs and is replaced."""
STOP_TIMEOUT = 15.0
"""Seconds between SIGTERM and SIGKILL; the server gives requests in flight 5 of them."""
PROBE_TIMEOUT = 5.0
"""Seconds for /health, which waits for nothing but a turn on a busy machine."""
START_LOCK_TIMEOUT = ADOPT_TIMEOUT + READY_TIMEOUT + 2 * STOP_TIMEOUT
LAUNCH_ATTEMPTS = 5
"""A port that was free a moment ago may be taken when the server binds it."""
LOG_LINES = 15
HTTP_OK = 200

LAUNCHER = """sh -c 'echo $$ >"$0"; exec "$@"' "$@" &"""
"""Shell: note the pid of a process in the background in the first argument, then become the command after it."""


class LocalEmbedder:
    """The local embedding server of a home: `start` gives its URL, which ends in `/v1`.

    The server holds `running.lock`, inherited from its starter, as long as it lives, and its pid and port are noted before
    it begins. So what a crashed starter leaves behind is recognised without trusting a pid that may be another's by now.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home.expanduser().resolve() / "embedder"
        self._running_lock = self._folder / "running.lock"
        self._port_file = self._folder / "port"
        self._pid_file = self._folder / "pid"
        self._log = self._folder / "embedder.log"

    def probe(self) -> str | None:
        """The URL, if our server answers there right now. Takes no lock."""
        port = _number(self._port_file)
        try:
            if port is None or not is_locked(self._running_lock):
                return None
        except SetupError:
            return None  # another account's home: `start` says so
        return _url(port) if _is_healthy(port) else None

    def start(self) -> str:
        """Start the server, or adopt the one that runs; gives its URL.

        Raises SetupError: EMBEDDER_START_FAILED with the end of its log, HOME_LOCKED, HOME_NOT_WRITABLE.
        """
        running = self.probe()
        if running is not None:
            return running
        make_folder(self._folder)
        with exclusive_lock(self._folder / "start.lock", timeout=START_LOCK_TIMEOUT):
            return self.probe() or self._adopt() or self._start()

    def stop(self) -> None:
        """End the server if it runs. Raises SetupError (EMBEDDER_STOP_FAILED)."""
        if not self._folder.is_dir():
            return
        with exclusive_lock(self._folder / "start.lock", timeout=START_LOCK_TIMEOUT):
            self._end()

    def _adopt(self) -> str | None:
        """The URL of a server whose starter died before it had opened; None if none runs or it does not open."""
        port = _number(self._port_file)
        return _url(port) if port is not None and self._opens(port, ADOPT_TIMEOUT) else None

    def _start(self) -> str:
        for _ in range(LAUNCH_ATTEMPTS):
            self._end()
            port = _free_port()
            self._launch(port)
            if self._opens(port, READY_TIMEOUT):
                return _url(port)
            if "address already in use" not in tail(self._log, LOG_LINES):
                break
        self._end()
        raise SetupError(
            "EMBEDDER_START_FAILED",
            "The local embedder did not start. Correct what its log says, or name a service by HELIX_EMBEDDING_URL. "
            f"{self._log} ends:\n{tail(self._log, LOG_LINES)}",
        )

    def _launch(self, port: int) -> None:
        from helix_pipelines.instance.child import rotate

        self._pid_file.unlink(missing_ok=True)  # an earlier server's pid may be anybody's by now
        write_file(self._port_file, f"{port}\n")
        rotate(self._log)
        running = open_lock(self._running_lock)
        try:
            if not lock(running, fcntl.LOCK_EX, timeout=1.0):
                raise self._does_not_end()
            with self._log.open("ab") as log:
                # The outer shell ends at once, so the server is nobody's child and leaves no zombie to us.
                subprocess.run(
                    [
                        "/bin/sh",
                        "-c",
                        LAUNCHER,
                        "sh",
                        self._pid_file,
                        sys.executable,
                        "-m",
                        SERVER,
                        "--port",
                        str(port),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    env=_environment(),
                    check=True,
                    start_new_session=True,
                    umask=0o077,
                    pass_fds=(running,),
                )
        finally:
            os.close(running)

    def _opens(self, port: int, timeout: float) -> bool:
        """Wait until the server answers on `port`, as long as it lives."""
        deadline = time.monotonic() + timeout
        while is_locked(self._running_lock) and time.monotonic() < deadline:
            if _is_healthy(port):
                return True
            time.sleep(POLL)
        return False

    def _end(self) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            pid = _number(self._pid_file)
            if not is_locked(self._running_lock):
                return
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            deadline = time.monotonic() + STOP_TIMEOUT
            while is_locked(self._running_lock) and time.monotonic() < deadline:
                time.sleep(POLL)
        if is_locked(self._running_lock):
            raise self._does_not_end()

    def _does_not_end(self) -> SetupError:
        return SetupError(
            "EMBEDDER_STOP_FAILED",
            f"The local embedder does not end; its process holds {self._running_lock} and may be in another container. "
            f"Find it with `fuser {self._running_lock}`.",
        )


def _environment() -> dict[str, str]:
    """Ours without HELIX_*: the server takes no settings, and must not look like part of a supervisor's tree.

    The package is found from a checkout that is not installed, too.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELIX_")}
    path = [str(PACKAGE_PARENT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


def _is_healthy(port: int) -> bool:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        return answer.status == HTTP_OK and isinstance(told, dict) and told.get("model") == MODEL
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def _number(path: Path) -> int | None:
    text = (read_file(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
