"""A database server that is taken away, made read-only or emptied of connections while an import runs, and what an import of a
file comes to then.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from helix_pipelines.instance.dagster_runs import RunHandle
from helix_pipelines.instance.postmaster import find_postmaster
from helix_pipelines_tests.databases import ThrowawayPostgres
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.recovery.orphans import RUN_ENDS_WITHIN, start_run
from helix_pipelines_tests.waiting import until

RUNS = 4
"""Of a batch until it has to be done: whoever launches it again is played by the test."""
WAITING_STATES = {"queued", "running", "done"}
"""In which a batch may be after a run that failed: to be tried again, or not settled as the database was away."""


@dataclass(frozen=True)
class Importing:
    """A run that is under way on a batch of a deployment."""

    deployment: Deployment
    key: str
    run: RunHandle

    def embedded(self) -> int:
        """Texts that have a vector, in the database."""
        [row] = self.deployment.query("SELECT count(*) AS texts FROM helix.embedding WHERE state = 'completed'")
        return int(row["texts"])

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the run's end, and play the queue until the batch is done; returns what failed on the way."""
        run = self.run
        for _ in range(RUNS):
            run.wait(RUN_ENDS_WITHIN)
            batch = self.deployment.batch(self.key)
            if batch["state"] == "done":
                return self.failures()
            assert batch["state"] in WAITING_STATES, (batch["state"], batch["error"], run.log.read_text()[-3000:])
            run = start_run(self.deployment, self.key)
        raise AssertionError(f"not done after {RUNS} runs: {self.failures()}")

    def failures(self) -> list[dict[str, Any]]:
        """Code, advice and verdict of every attempt at a phase that failed."""
        return self.deployment.query(
            "SELECT phase, error_code AS code, advice, recoverable FROM helix.phase_run WHERE state = 'failed' ORDER BY id"
        )


def begin_import(deployment: Deployment, key: str, run: RunHandle | None = None) -> Importing:
    """A run on the batch, or the given one, that has embedded something when this returns."""
    importing = Importing(deployment, key, run or start_run(deployment, key))
    try:
        until(importing.embedded, RUN_ENDS_WITHIN, "nothing is embedded")
    except AssertionError as error:
        importing.run.process.kill()
        importing.run.wait()
        raise AssertionError(f"{error}: {importing.failures()}\n{importing.run.log.read_text()[-3000:]}") from error
    return importing


def postgres_processes(server: ThrowawayPostgres) -> list[psutil.Process]:
    """The postmaster and all that it started."""
    found = find_postmaster(server.data_dir)
    assert found is not None
    postmaster = psutil.Process(found.pid)
    return [postmaster, *postmaster.children(recursive=True)]


@contextmanager
def dropping_connections(url: str, where: str, least: float = 1.0, most: float = 2.5) -> Iterator[list[int]]:
    """Terminate a random backend of those that the condition holds for, again after `least` to `most` seconds, during a block.

    Yields the pids of those that it hit. A chunk is tried three times within some seconds, so one hit a second is bearable.
    """
    over = threading.Event()
    dropped: list[int] = []
    chance = random.Random(1)

    def drop() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(chance.uniform(least, most)):
                pid = _drop_one(connection, where, over)
                if pid is not None:
                    dropped.append(pid)

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        yield dropped
    finally:
        over.set()
        thread.join()


def _drop_one(connection: psycopg.Connection, where: str, over: threading.Event) -> int | None:
    """Wait for such a backend and terminate it."""
    statement = (
        "SELECT pid FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        f" AND {where} ORDER BY random() LIMIT 1) victim WHERE pg_terminate_backend(pid)"
    )
    while not over.is_set():
        row = connection.execute(statement.encode()).fetchone()
        if row is not None:
            return int(row[0])
        time.sleep(0.002)
    return None


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """The database takes no writes during a block, as a replica or one that its administrator shut for writing."""
    name = url.rpartition("/")[2]
    admin = f"{url.rpartition('/')[0]}/postgres"

    def switch(value: str) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    switch("on")
    try:
        yield
    finally:
        switch("off")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk in memory, mounted at a folder for a block. Raises subprocess.CalledProcessError where we may not mount one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def filled_up(folder: Path, spare: int) -> Iterator[None]:
    """No more than `spare` bytes are free on the disk of a folder, for a block."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - spare)
    try:
        yield
    finally:
        ballast.unlink()
