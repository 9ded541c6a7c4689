"""Seeing an import through: start its Dagster run, follow it, start another where work was left or a run was lost."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from helix_pipelines.cli.output import note
from helix_pipelines.storage import reports
from helix_pipelines.storage.batches import mark_launched
from helix_pipelines.storage.queue import record_run_end
from helix_pipelines.storage.recovery import WORKER_LOST, FailedRun, RetryRules, settle_failed_run
from helix_pipelines.storage.states import BatchState

if TYPE_CHECKING:
    from helix_pipelines.instance.dagster_runs import RunHandle

POLL_SECONDS = 0.25
"""How often a run is looked at: often enough for a progress bar, and an import ends this much late at most."""
POLL_SHARE = 20
"""Looking may take one part in this many of the time: polls wait longer where the database is slow to answer."""
STOP_SECONDS = 30.0
"""A run that was asked to stop ends its chunk and gives back its claims; then it is killed."""
DEFERRAL_POLL_SECONDS = 5.0
WAITING = (BatchState.QUEUED, BatchState.DEFERRED)
"""States from which a batch goes on by itself once it is due."""

Pulse = dict[str, Any]
StartRun = Callable[[], "RunHandle"]


class Display(Protocol):
    """Whoever shows the pulse of a batch to a person."""

    def show(self, pulse: Pulse) -> None:
        """Bring what is shown up to date."""


def see_through(
    connection: psycopg.Connection,
    batch: str,
    start: StartRun,
    display: Display | None,
    patience: float,
    rules: RetryRules,
) -> None:
    """Run the batch until it is done, has failed, was paused, or had to wait for `patience` seconds in all.

    A run that failed or was lost is followed by another one as `rules` say. A batch that another live run works on is followed
    instead; should that run die, this takes over. An interrupt stops the run that this has started, at its next chunk.
    """
    ran = False
    own_run: str | None = None
    waits_since: float | None = None
    while True:
        pulse = reports.pulse(connection, batch)
        state = pulse["state"]
        if pulse["leased"] and pulse["run_id"] != own_run:
            note(f"Run {pulse['run_id']} is working on batch {batch}; following it.")
            ran = _follow(connection, batch, pulse["run_id"], display)
            continue
        if state in {"done", "cancelled"} or (ran and state not in WAITING):
            return
        if ran:
            waits_since = waits_since or monotonic()
            if not _wait_until_due(connection, batch, waits_since + patience):
                return
        with connection.transaction():
            mark_launched(connection, batch)
        own_run = _run(connection, batch, start, display, rules)
        if own_run is None:
            return
        ran = True


def _wait_until_due(connection: psycopg.Connection, batch: str, gives_up: float) -> bool:
    """Sleep until a waiting batch may go on, which an operator may bring forward; False where that is after `gives_up`, or where
    somebody does not want to wait.
    """
    told = False
    while (due_in := reports.due_in(connection, batch)) > 0:
        if monotonic() + due_in > gives_up:
            return False
        if not told:
            note(f"Batch {batch} has to wait; the next try is in {due_in:.0f} s, Ctrl-C leaves it for later.")
            told = True
        try:
            sleep(min(due_in, DEFERRAL_POLL_SECONDS))
        except KeyboardInterrupt:
            return False
    return monotonic() < gives_up


def _run(
    connection: psycopg.Connection, batch: str, start: StartRun, display: Display | None, rules: RetryRules
) -> str | None:
    """Start a run, wait for its end and return its id, None where an interrupt has stopped it. Settles the batch where the run's
    process was killed before it could.
    """
    launched = reports.pulse(connection, batch)["at"]
    run = start()
    try:
        code = _wait(connection, batch, run, display)
    except KeyboardInterrupt:
        note("Stopping the run; the same command continues the import later.")
        run.terminate(STOP_SECONDS)
        record_run_end(connection, batch, run.run_id, BatchState.PAUSED, run_created=launched, worker_is_gone=True)
        return None
    if code != 0:
        message = f"The run's process ended with exit code {code}; its log is {run.log}."
        note(message)
        error = {"code": WORKER_LOST, "message": message, "recoverable": True}
        settle_failed_run(connection, FailedRun(batch, run.run_id, launched, error, worker_is_gone=True), rules)
    return run.run_id


def _wait(connection: psycopg.Connection, batch: str, run: RunHandle, display: Display | None) -> int:
    if display is None:
        return run.wait()
    while (code := run.poll()) is None:
        _beat(connection, batch, display)
    display.show(reports.pulse(connection, batch))
    return code


def _follow(connection: psycopg.Connection, batch: str, run_id: str, display: Display | None) -> bool:
    """Watch another process's run until it ends; whether it ended by itself, and not by dying."""
    while True:
        pulse = _beat(connection, batch, display)
        if pulse["run_id"] != run_id or not pulse["leased"]:
            return bool(pulse["state"] != "running")


def _beat(connection: psycopg.Connection, batch: str, display: Display | None) -> Pulse:
    """Take one pulse, show it, and wait for the next one to be due."""
    asked = monotonic()
    pulse = reports.pulse(connection, batch)
    if display is not None:
        display.show(pulse)
    sleep(max(POLL_SECONDS, POLL_SHARE * (monotonic() - asked)))
    return pulse
