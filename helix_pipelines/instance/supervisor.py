"""`helix up`: database, local embedder, Dagster's webserver and daemon; started, kept alive and ended in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg

from helix_pipelines.instance.child import Child, ProcessMark, end_processes, offspring, rotate, stop_children
from helix_pipelines.instance.dagster_services import HOST, choose_ui_port, dagster_services, ui_answers
from helix_pipelines.instance.home_files import make_folder, tail
from helix_pipelines.instance.kept_service import KeptService
from helix_pipelines.instance.services import database, embedder, shared_database, shared_embedder
from helix_pipelines.instance.up_state import UpState, end_leftovers, is_up, only_supervisor, running_state, stop
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines.storage.schema import ensure_schema

TICK = 0.25
"""Seconds between two looks at the children; what a dead one waits on top of its back-off."""
READY_TIMEOUT = 180.0
"""Seconds until the UI answers: 10 on a quiet machine, of which most is importing Dagster twice."""
CHILD_STOP_TIMEOUT = 15.0
"""Seconds for the children, and then for the processes of runs, to end by themselves."""
LOG_LINES = 15
"""Of a child's log, in an error about it."""

Address = TypeVar("Address")
Say = Callable[[str], None]
Announce = Callable[[UpState], None]


class Supervisor:
    """One `helix up`. `say` gets a sentence when something happened, `announce` the state once everything answers."""

    def __init__(self, settings: Settings, say: Say, announce: Announce) -> None:
        self._settings = settings
        self._say = say
        self._announce = announce
        self._home = settings.home.absolute()
        self._logs = self._home / "logs"
        self._stopping = threading.Event()
        self._services: list[KeptService[Any]] = []
        self._children: list[Child] = []
        self._publish: Announce = announce
        self._ready = False

    def run(self) -> None:
        """Start everything, keep it alive until SIGTERM, SIGINT or SIGHUP, end everything.

        Raises SetupError: ALREADY_UP, UI_PORT_BUSY, UI_NOT_READY, and what the database and the embedder raise.
        """
        with ExitStack() as ending:
            self._publish = ending.enter_context(only_supervisor(self._home))
            ending.enter_context(_signals(self._stopping))
            end_leftovers(self._home)
            self._port = choose_ui_port(self._settings.ui_port)
            self._publish(self._state())
            self._start(ending)
            self._watch()

    def _start(self, ending: ExitStack) -> None:
        """In the order of need; `ending` undoes it in reverse: who starts runs, the runs, then what all of them use."""
        make_folder(self._logs)
        self._settings.inbox_dir.mkdir(parents=True, exist_ok=True)  # colleagues write here: the umask decides
        self._database = self._keep(
            ending, KeptService("The database", lambda: database(self._settings), _database_answers)
        )
        self._url = self._database.address
        ensure_schema(self._url)
        if self._settings.embeds_locally:
            self._keep(
                ending, KeptService("The embedder", lambda: embedder(self._settings), lambda at: _listens(at.url))
            )
        ending.callback(lambda: end_processes(offspring(self._home), CHILD_STOP_TIMEOUT))
        ending.callback(self._stop_children)
        self._start_children()

    def _keep(self, ending: ExitStack, service: KeptService[Address]) -> KeptService[Address]:
        ending.callback(service.stop)
        service.start()
        self._services.append(service)
        return service

    def _start_children(self) -> None:
        self._children = [Child(spec) for spec in dagster_services(self._settings, self._url, self._port)]
        for child in self._children:
            child.start()
        self._publish(self._state())

    def _watch(self) -> None:
        """Keep all parts alive; announce once the UI answers."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._stopping.wait(TICK):
            self._keep_alive()
            if self._ready:
                continue
            if ui_answers(self._port):
                self._ready = True
                self._publish(self._state())
                self._announce(self._state())
            elif time.monotonic() > deadline:
                log = self._children[0].spec.log
                raise SetupError(
                    "UI_NOT_READY",
                    f"The UI has not answered within {READY_TIMEOUT:.0f} s. {log} ends:\n{tail(log, LOG_LINES)}",
                )

    def _keep_alive(self) -> None:
        for service in self._services:
            self._report(service.keep_alive())
        if self._database.address != self._url:
            self._url = self._database.address
            self._say("The database has another address now: Dagster is started again.")
            self._stop_children()
            self._start_children()
        marks = [child.mark for child in self._children]
        for child in self._children:
            self._report(child.keep_alive())
        if [child.mark for child in self._children] != marks:
            self._publish(self._state())

    def _stop_children(self) -> None:
        stop_children(self._children, CHILD_STOP_TIMEOUT)

    def _state(self) -> UpState:
        return UpState(
            supervisor=ProcessMark.of(os.getpid()),
            ui=f"http://{HOST}:{self._port}",
            inbox=str(self._settings.inbox_dir.absolute()),
            logs=str(self._logs),
            children={child.spec.name: child.mark for child in self._children if child.mark is not None},
            ready=self._ready,
        )

    def _report(self, story: str | None) -> None:
        if story is not None:
            self._say(story)


def shut_down(settings: Settings) -> bool:
    """End the supervisor of a home and whatever a crashed one left, database and embedder included if nobody uses them.

    Tells whether a supervisor was running. Raises SetupError where a process does not end.
    """
    was_running = stop(settings.home.absolute())
    for service in (shared_embedder, shared_database):
        service(settings.home).stop_if_unused()
    return was_running


def start_detached(settings: Settings, *, timeout: float = READY_TIMEOUT) -> UpState:
    """Run a supervisor in the background and wait until it is ready; one that runs already is as good.

    Raises SetupError (UP_FAILED) with the end of its log where it ended instead.
    """
    home = settings.home.absolute()
    log = home / "logs" / "up.log"
    make_folder(log.parent)
    starting = None if is_up(home) else _launch_detached(log)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        state = running_state(home)
        if state is not None and state.ready:
            return state
        if state is None and not (starting and starting.alive()):
            break
        time.sleep(TICK)
    raise SetupError("UP_FAILED", f"Helix has not come up. {log} ends:\n{tail(log, LOG_LINES)}")


def _launch_detached(log: Path) -> ProcessMark:
    """Run this module as nobody's child: it outlives us and leaves us no zombie."""
    rotate(log)
    with log.open("ab") as output:
        # The shell ends at once, having told the pid.
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", sys.executable, "-m", __name__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
            check=True,
        )
    return ProcessMark.of(int(shell.stdout))


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """Set the event on the signals that ask for an end; the former reactions return with the end of the block."""
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    former = {number: signal.signal(number, lambda *_: stopping.set()) for number in asked}
    try:
        yield
    finally:
        for number, reaction in former.items():
            signal.signal(number, reaction)


def _database_answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def _listens(url: str) -> bool:
    """Whether something takes connections at the host and port of a URL."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or HOST, parts.port or 80), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":

    def _print(message: str) -> None:
        sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
        sys.stdout.flush()

    Supervisor(load_settings(), _print, lambda state: _print(f"Ready: {state.ui}")).run()
