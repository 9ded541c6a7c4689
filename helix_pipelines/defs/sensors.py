"""What happens by itself: the inbox is watched, the queue is launched, and the ends of runs are told to their batches."""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg

from helix_pipelines.defs.jobs import import_batch_job
from helix_pipelines.defs.partitions import import_batches
from helix_pipelines.defs.phases import OUTCOME_TAG, what_follows
from helix_pipelines.defs.recovery import recovery_sensor
from helix_pipelines.defs.resources import DatabaseResource, InboxResource
from helix_pipelines.ingestion.inbox import list_inbox, take_stable_files
from helix_pipelines.instance.run_failures import failed_run
from helix_pipelines.instance.run_workers import PARTITION_TAG, WILL_RETRY_TAG
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.deferral import continue_due
from helix_pipelines.storage.queue import Launch, launch_next, record_run_end
from helix_pipelines.storage.queue_verbs import standing
from helix_pipelines.storage.recovery import RetryRules, settle_failed_run
from helix_pipelines.storage.states import BatchState

INTERVAL = 3
"""Seconds between ticks at least: less than the 5 after which Dagster's daemon looks at its sensors again. With 5, every other
look came some milliseconds too early and was left out (measured: ticks 5 or 10 s apart), and a file waits for several ticks.
"""
RETRY_INTERVAL = 10
"""Seconds; a service that returned is used again at once by the runs that wait for it, so this is for batches without one."""
LISTING_SECONDS = 20.0
"""Of the 60 s that a tick may last; the next tick goes on where this one stopped."""
BECAME = {"error": "has failed", "interrupted": "was interrupted", "skipped": "is another run's"}
"""How the other states of a batch and outcomes of a run are said."""
BATCH_TAG = "helix/batch"
PRIORITY_TAG = "dagster/priority"


@dg.sensor(
    target=import_batch_job,
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Seals the files that have come to rest in the inbox into import batches and queues them.",
)
def inbox_sensor(
    context: dg.SensorEvaluationContext,
    database: dg.ResourceParam[DatabaseResource],
    inbox: dg.ResourceParam[InboxResource],
) -> dg.SensorResult:
    """One look at the inbox. The cursor is the path after which the next look goes on, empty at the start."""
    root = inbox.folder()
    deadline = time.monotonic() + LISTING_SECONDS
    listing = list_inbox(root, after=context.cursor or None, deadline=deadline, clock=time.monotonic)
    for problem in listing.problems:
        context.log.warning(f"Not looked at: {problem}")
    with database.pool() as pool, pool.transaction() as connection:
        report = take_stable_files(connection, root, listing, inbox.limits(), inbox.stable_seconds())
    for problem in report.problems:
        context.log.error(problem)
    waiting = f"{len(listing.files)} files seen, {report.settling} settling, {report.waiting} waiting"
    sealed = f"sealed: {', '.join(report.batches) or 'nothing'}"
    return dg.SensorResult(
        # The queue adds the keys too, should this tick be lost; added now, a waiting batch shows as a missing partition.
        dynamic_partitions_requests=[import_batches.build_add_request(report.batches)] if report.batches else [],
        skip_reason=". ".join([f"{waiting}; {sealed}", *report.problems]),
        cursor=listing.until or "",
    )


@dg.sensor(
    target=import_batch_job,
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches queued batches by priority, then position; never two that import into the same source.",
)
def batch_queue_sensor(database: dg.ResourceParam[DatabaseResource]) -> dg.SensorResult | dg.SkipReason:
    """Take what may run now from the queue. Batches are marked before their runs are asked for, so a lost tick launches nothing
    twice; what it leaves without a run is `recovery_sensor`'s.
    """
    with database.pool() as pool, pool.transaction() as connection:
        launches = launch_next(connection, load_settings().max_running_batches)
    if not launches:
        return dg.SkipReason("Nothing to launch.")
    return dg.SensorResult(
        run_requests=[_run_request(launch) for launch in launches],
        dynamic_partitions_requests=[import_batches.build_add_request([launch.partition_key for launch in launches])],
    )


def _run_request(launch: Launch) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=launch.run_key,
        partition_key=launch.partition_key,
        tags={BATCH_TAG: launch.name, PRIORITY_TAG: str(launch.priority)},
    )


@dg.run_failure_sensor(
    monitored_jobs=[import_batch_job],
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Queues the batch of a failed run again where time or another try may help; else it is failed, with its story.",
)
def failed_run_sensor(context: dg.RunFailureSensorContext, database: dg.ResourceParam[DatabaseResource]) -> None:
    """A run that Dagster will retry speaks through its retry."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    key = run.tags.get(PARTITION_TAG)
    if run.tags.get(WILL_RETRY_TAG) == "true" or key is None or record is None:
        return
    failed = failed_run(context.instance, run, key, record.create_timestamp)
    with database.pool() as pool, pool.transaction() as connection:
        state = settle_failed_run(connection, failed, RetryRules.from_settings(load_settings()))
    if state:
        context.log.info(f"{key}: {state}. {failed.error['code']}: {failed.error['message']}")
        _tell(context.instance, run, key, state)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    monitored_jobs=[import_batch_job],
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks the batch of a run that a person terminated as paused: it goes on when a person says so.",
)
def terminated_run_sensor(context: dg.RunStatusSensorContext, database: dg.ResourceParam[DatabaseResource]) -> None:
    """A stop by a human stays a stop, and the run's page says how it ends."""
    _record_pause(context, database)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[import_batch_job],
    minimum_interval_seconds=INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks a batch as paused where a run succeeded short of the knowledge base: only some assets were chosen.",
)
def partial_run_sensor(context: dg.RunStatusSensorContext, database: dg.ResourceParam[DatabaseResource]) -> None:
    """A run that did its whole work, or ended before by itself, has said so: of the latter the end of its page says it again."""
    run = context.dagster_run
    key, outcome = run.tags.get(PARTITION_TAG), run.tags.get(OUTCOME_TAG)
    if not _record_pause(context, database) and key is not None and outcome is not None:
        _tell(context.instance, run, key, outcome)


def _record_pause(context: dg.RunStatusSensorContext, database: DatabaseResource) -> bool:
    """Put the batch of a run aside that ended before its work did; whether it was one."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    key = run.tags.get(PARTITION_TAG)
    if key is None or record is None:
        return False
    with database.pool() as pool, pool.transaction() as connection:
        if not record_run_end(connection, key, run.run_id, BatchState.PAUSED, run_created=record.create_timestamp):
            return False
        state = standing(connection, key).state
    context.instance.add_run_tags(run.run_id, {OUTCOME_TAG: str(state)})
    _tell(context.instance, run, key, state)
    return True


def _tell(instance: dg.DagsterInstance, run: dg.DagsterRun, key: str, outcome: str) -> None:
    """Say at the end of a run's page what became of its batch, and what a person can do."""
    became = BECAME.get(outcome, f"is {outcome}")
    instance.report_engine_event(f"Batch {key} {became}. {what_follows(outcome, key)}".rstrip(), run)


@dg.sensor(
    target=import_batch_job,
    minimum_interval_seconds=RETRY_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Queues deferred batches that are due; while their service is away one at a time, to find out for all.",
)
def retry_sensor(database: dg.ResourceParam[DatabaseResource]) -> dg.SkipReason:
    """The queue launches what this puts into it."""
    with database.pool() as pool, pool.transaction() as connection:
        due = continue_due(connection)
    return dg.SkipReason(f"Queued again: {', '.join(due)}." if due else "No deferred batch is due.")


SENSORS: Sequence[dg.SensorDefinition] = [
    inbox_sensor,
    batch_queue_sensor,
    failed_run_sensor,
    terminated_run_sensor,
    partial_run_sensor,
    retry_sensor,
    recovery_sensor,
]
"""All of them run unless somebody stops them in the UI."""
