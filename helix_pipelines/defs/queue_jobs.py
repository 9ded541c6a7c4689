"""What a person may do to the queue, as jobs for Dagster's launchpad: each has one step, which changes one batch.

They do the same as `helix queue`. The log of the run and the metadata of its step say what became of the batch; a batch that
does not exist, or whose state does not allow it, fails the run with the code.
"""

# No `from __future__ import annotations`: Dagster reads the annotation of `config` as it stands.

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import psycopg
from pydantic import Field

from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.ingestion.handing_over import hand_over
from helix_pipelines.ingestion.requested_files import plan_files
from helix_pipelines.resilience.errors import HelixError
from helix_pipelines.storage import queue_verbs
from helix_pipelines.storage.queue_verbs import Standing
from helix_pipelines.storage.states import BatchState

Act = Callable[[psycopg.Connection], Standing]
BatchVerb = Callable[[psycopg.Connection, str], Standing]


class BatchChoice(dg.Config):
    """Which batch is meant."""

    batch: str = Field(description="The batch's key: its partition.")


class PlaceChoice(BatchChoice):
    """Where in the queue a batch is to be."""

    place: int = Field(ge=1, description="1 is the first; beyond the last is the last.")


class FilesChoice(dg.Config):
    """Files to be imported as one batch."""

    paths: list[str] = Field(
        min_length=1, description="Files and folders, as the machine that runs this job sees them."
    )
    collection: str | None = Field(default=None, description="The knowledge base that the pairs go to.")
    source: str | None = Field(default=None, description="The source that a single file continues.")
    priority: int | None = Field(default=None, ge=-1000, le=1000, description="Batches of a higher one go first [0].")


@dg.op(name="add")
def _add(context: dg.OpExecutionContext, config: FilesChoice, database: dg.ResourceParam[DatabaseResource]) -> None:
    def act(connection: psycopg.Connection) -> Standing:
        chosen = {"collection": config.collection, "source": config.source}
        plan = plan_files([Path(path) for path in config.paths], chosen)
        for reason in plan.left_out:
            context.log.warning(f"Left out: {reason.message}")
        handed = hand_over(connection, plan.files, state=BatchState.QUEUED, priority=config.priority)
        return queue_verbs.standing(connection, handed.batch)

    _do(context, database, act)


@dg.op(name="reorder")
def _reorder(context: dg.OpExecutionContext, config: PlaceChoice, database: dg.ResourceParam[DatabaseResource]) -> None:
    _do(context, database, lambda connection: queue_verbs.reorder(connection, config.batch, config.place))


def _op(name: str, verb: BatchVerb) -> dg.OpDefinition:
    @dg.op(name=name)
    def change(
        context: dg.OpExecutionContext, config: BatchChoice, database: dg.ResourceParam[DatabaseResource]
    ) -> None:
        _do(context, database, lambda connection: verb(connection, config.batch))

    return change


def _do(context: dg.OpExecutionContext, database: DatabaseResource, act: Act) -> None:
    """One verb in one transaction; the audit log names the run."""
    try:
        with database.pool() as pool, pool.transaction() as connection:
            connection.execute("SELECT set_config('helix.actor', %s, true)", [f"dagster run {context.run.run_id}"])
            standing = act(connection)
    except HelixError as error:
        metadata = {"code": error.code, "message": error.message}
        raise dg.Failure(f"{error.code}: {error.message}", metadata, allow_retries=False) from error
    context.log.info(standing.in_words())
    told = {**asdict(standing), "state": str(standing.state)}
    context.add_output_metadata({name: value for name, value in told.items() if value is not None})


def _job(name: str, op: dg.OpDefinition, description: str) -> dg.JobDefinition:
    return dg.GraphDefinition(f"queue_{name}_job", node_defs=[op]).to_job(
        description=description, executor_def=dg.in_process_executor
    )


QUEUE_JOBS = [
    _job("add", _add, "Queues files as one batch; those that were handed over and are not finished keep theirs."),
    _job(
        "pause",
        _op("pause", queue_verbs.pause),
        "Puts a batch aside until somebody resumes it; a running one after its chunk.",
    ),
    _job(
        "resume", _op("resume", queue_verbs.resume), "Lets a paused or deferred batch go on: to the end of the queue."
    ),
    _job("promote", _op("promote", queue_verbs.promote), "Makes a queued batch the next one of all."),
    _job("reorder", _reorder, "Puts a queued batch at a place of the queue."),
    _job("cancel", _op("cancel", queue_verbs.cancel), "Ends a batch without finishing it; what it has imported stays."),
    _job("retry", _op("retry", queue_verbs.retry), "Tries a failed or cancelled batch again: to the end of the queue."),
]
