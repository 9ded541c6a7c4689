"""What a kill can hit, and which processes that is: a run's worker, a part of the service, all of it, or the database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import psutil

from helix_pipelines.instance.child import offspring
from helix_pipelines_tests.recovery.live_service import LiveService


class Victim(StrEnum):
    """Whoever is killed. `machine` is the service together with its database, as when a container is killed."""

    WORKER = "worker"
    DAEMON = "daemon"
    CODE_SERVER = "code server"
    WEBSERVER = "webserver"
    SERVICE = "service"
    MACHINE = "machine"
    DATABASE = "database"

    @property
    def ends_service(self) -> bool:
        """Whether somebody has to call `helix up` again, as a service manager does."""
        return self in {Victim.SERVICE, Victim.MACHINE}


RUN_PROCESS = "spawn_main"
"""In the command line of a process that Dagster's code server started for a run."""
CODE_SERVER = "grpc"
"""In the command line of Dagster's code servers."""


def processes_of(service: LiveService, victim: Victim, holder: Any = None) -> list[psutil.Process]:
    """The processes to kill. `holder` is what a batch says of its worker; None is a worker that has not begun its batch yet."""
    match victim:
        case Victim.WORKER:
            return [psutil.Process(int(holder["pid"]))] if holder else _workers(service)[-1:]
        case Victim.DAEMON | Victim.WEBSERVER:
            return [psutil.Process(service.state().children[f"dagster-{victim}"].pid)]
        case Victim.CODE_SERVER:
            return _below_daemon(service, CODE_SERVER)
        case Victim.SERVICE:
            return _service(service)
        case Victim.MACHINE:
            return [*_service(service), *_database(service)]
        case Victim.DATABASE:
            return _database(service)


def kill(processes: Sequence[psutil.Process]) -> float:
    """kill -9 of all; gives the moment before the first, by the monotonic clock."""
    moment = time.monotonic()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    return moment


def _workers(service: LiveService) -> list[psutil.Process]:
    """Processes of runs, the youngest last."""
    return sorted(_below_daemon(service, RUN_PROCESS), key=psutil.Process.create_time)


def _below_daemon(service: LiveService, word: str) -> list[psutil.Process]:
    daemon = psutil.Process(service.state().children["dagster-daemon"].pid)
    found = []
    for process in daemon.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word in part for part in process.cmdline()):
                found.append(process)
    return found


def _service(service: LiveService) -> list[psutil.Process]:
    """The supervisor first, or it would start the others again."""
    marks = [service.state().supervisor, *offspring(service.home.absolute())]
    found = []
    for mark in marks:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(mark.pid))
    return found


def _database(service: LiveService) -> list[psutil.Process]:
    postmaster = service.postmaster()
    return [postmaster, *postmaster.children(recursive=True)]
