"""Evaluates every sensor and schedule and loads every job, as Dagster's code server does for the daemon; prints what came of it.

    python -m helix_pipelines_tests.integration.evaluate_everything

Run in a process of its own: what only works because something else was imported or set up before, fails here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.impl import get_external_schedule_execution, get_external_sensor_execution


def evaluate(instance: dg.DagsterInstance) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that can be evaluated, by name."""
    code = ReconstructableRepository.for_module("helix_pipelines.definitions", "definitions")
    repository = code.get_definition()
    now = time.time()
    for sensor in repository.sensor_defs:
        yield sensor.name, partial(_look, repository, instance, sensor.name, now)
    for schedule in repository.schedule_defs:
        yield (
            schedule.name,
            partial(
                get_external_schedule_execution, repository, instance.get_ref(), schedule.name, now, "UTC", log_key=None
            ),
        )
    for job in repository.get_all_jobs():
        yield job.name, repository.get_job(job.name).get_job_snapshot


def _look(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, name: str, now: float) -> object:
    return get_external_sensor_execution(
        repository,
        ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="helix_pipelines.definitions")),
        instance.get_ref(),
        name,
        last_tick_completion_timestamp=None,
        last_run_key=None,
        cursor=None,
        log_key=None,
        last_sensor_start_timestamp=now,
    )


def main() -> None:
    """Print one JSON object: name -> "evaluated", or the error."""
    outcome = {}
    with dg.DagsterInstance.get() as instance:
        for name, look in evaluate(instance):
            try:
                failure = getattr(look(), "error", None)  # the code server hands errors back instead of raising them
                outcome[name] = failure.to_string() if failure else "evaluated"
            except Exception as error:  # noqa: BLE001 - the test shows all of them
                outcome[name] = f"{type(error).__name__}: {error} {error.__cause__ or ''}"
    print(json.dumps(outcome))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
