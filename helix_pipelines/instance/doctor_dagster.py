"""Checks of Dagster: its daemon, the code location, sensors and schedules, and what nobody works on."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickStatus

from helix_pipelines.definitions import definitions
from helix_pipelines.instance.checkup import Answer, Check, fault, ok, warning
from helix_pipelines.instance.doctor_database import connected
from helix_pipelines.instance.recovery import Recovery, opened_instance
from helix_pipelines.settings import Settings
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.recovery import RetryRules
from helix_pipelines.storage.schema import current_revision

NAMED = 3
"""Findings that an answer names; `helix recover --dry-run` has them all."""
START = "Start it: `helix up`. Without it nothing is imported by itself; `helix import` works."


def dagster_checks(settings: Settings, url: str) -> list[Check]:
    """The checks of a database that answers; they open Dagster's instance in it, once for all of them."""
    shared = _Shared(settings, url)
    return [
        Check("code", check_code),
        Check("daemon", lambda: shared.look(check_daemon)),
        Check("sensors", lambda: shared.look(check_sensors)),
        Check("stranded", lambda: shared.look(lambda instance: check_stranded(instance, settings, url))),
    ]


def check_code() -> Answer:
    """Whether the code location can be loaded."""
    loaded = definitions()
    dg.Definitions.validate_loadable(loaded)
    repository = loaded.get_repository_def()
    return ok(
        f"{len(repository.assets_defs_by_key)} assets, {len(repository.sensor_defs)} sensors, "
        f"{len(repository.schedule_defs)} schedules can be loaded."
    )


def check_daemon(instance: dg.DagsterInstance) -> Answer:
    """Whether every part of the daemon was heard of lately."""
    statuses = instance.get_daemon_statuses()
    silent = sorted(kind for kind, status in statuses.items() if status.required and not status.healthy)
    if not silent:
        errors = [error.message for status in statuses.values() for error in _errors(status.last_heartbeat)]
        if errors:
            return warning(
                f"It runs, with errors: {errors[0].strip()}", "See its log, dagster-daemon.log in HELIX_HOME/logs."
            )
        return ok(f"All {len(statuses)} parts were heard of lately.")
    if len(silent) == len(statuses):
        return warning("It is not running.", START)
    return fault(f"These parts are silent: {', '.join(silent)}.", "Start it again: `helix down`, then `helix up`.")


def check_sensors(instance: dg.DagsterInstance) -> Answer:
    """Whether sensors and schedules are switched on, and how their latest look went."""
    states = instance.all_instigator_state()
    stopped = sorted(state.name for state in states if state.status is InstigatorStatus.STOPPED)
    failing = {state.name: error for state in states if (error := _failure(instance, state)) is not None}
    if failing:
        name, error = next(iter(failing.items()))
        return fault(f"{', '.join(sorted(failing))} failed the last time. {name}: {error}", "See its ticks in the UI.")
    if stopped:
        return warning(f"Switched off: {', '.join(stopped)}.", "Switch them on in the UI, under Automation.")
    return ok(f"{len(states)} are switched on, and none failed the last time.")


def check_stranded(instance: dg.DagsterInstance, settings: Settings, url: str) -> Answer:
    """Whether there is something that nobody works on."""
    database = Database.from_settings(url, settings)
    try:
        findings = Recovery(instance, database, RetryRules.from_settings(settings)).look()
    finally:
        database.close()
    if not findings:
        return ok("Nothing is stranded.")
    named = "; ".join(f"{finding.batch or finding.run_id}: {finding.detail}" for finding in findings[:NAMED])
    by_itself = "The daemon puts it right within a minute" if settings.auto_recovery else "HELIX_AUTO_RECOVERY is false"
    return warning(f"{len(findings)} found. {named}", f"{by_itself}; by hand: `helix recover`.")


class _Shared:
    """Dagster's instance, opened by the first check that needs it and kept until the process ends."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self._lock = Lock()
        self._opened: dg.DagsterInstance | None = None

    def look(self, check: Callable[[dg.DagsterInstance], Answer]) -> Answer:
        """The answer of a check, which is not made before there is a schema: opening the instance makes Dagster's tables."""
        with connected(self._url) as connection:
            if current_revision(connection) != HEAD:
                return warning("Not looked at: the schema is not that of this version.", "See the check of the schema.")
        with self._lock:
            if self._opened is None:
                self._opened = opened_instance(self._settings, self._url)
        return check(self._opened)


def _errors(heartbeat: object) -> list[dg.SerializableErrorInfo]:
    return list(getattr(heartbeat, "errors", None) or [])


def _failure(instance: dg.DagsterInstance, state: InstigatorState) -> str | None:
    """What the latest look of a sensor or schedule failed with, None where it did not."""
    [*latest] = instance.get_ticks(state.instigator_origin_id, state.selector_id, before=time.time(), limit=1)
    if not latest or latest[0].status is not TickStatus.FAILURE:
        return None
    error = latest[0].error
    return error.message.strip() if error else "no reason was noted"
