"""What every asset does around its stage: hold the batch, and turn an error's verdict into what Dagster does next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.resilience.errors import (
    HelixError,
    LimitedError,
    PhaseError,
    TransientError,
    UnavailableError,
    UsageError,
)
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines.storage import leases
from helix_pipelines.storage.deferral import defer
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.gates import reopen_shut
from helix_pipelines.storage.leases import BatchBusyError, BatchWork
from helix_pipelines.storage.transactions import is_retryable, run_chunk

OUTCOME_TAG = "helix/outcome"
"""Of a run that succeeded without finishing its batch: `deferred` or `paused`."""
RETRY_TAG = "dagster/retry_number"
"""Of re-executions that Dagster started by itself."""
BUSY_RETRIES = 3
BUSY_WAIT = leases.LEASE_SECONDS + 1
"""Seconds after which a batch is free whose run has died."""


@contextmanager
def working_on_batch(
    context: dg.AssetExecutionContext, database: DatabaseResource, phase: str
) -> Iterator[tuple[Database, BatchWork]]:
    """Hold the run's batch for one phase. The block gets the pool to work on and the batch.

    Raises what `translated` makes of errors.
    """
    with translated(load_settings(), context.retry_number), database.pool() as pool:
        if not context.has_partition_key:
            raise UsageError("PARTITION_MISSING", "Choose the partition, that is the import batch, to materialize.")
        with leases.phase(pool, context.partition_key, context.run.run_id, phase) as batch:
            yield pool, batch


@contextmanager
def translated(settings: Settings, retries: int) -> Iterator[None]:
    """Turn errors of the block into Dagster's words, after so many `retries` of the step.

    dg.RetryRequested where trying again can help: `HELIX_MAX_RETRIES` times, first after about `HELIX_RETRY_BACKOFF_BASE`
    seconds, then twice as long each time; and after a lease, where a run that may be dead holds the batch. Otherwise
    dg.Failure, with code and message.

    Assets have no `retry_policy`: with one, Dagster retries a step also when a person terminates its run.
    """
    policy = dg.RetryPolicy(
        max_retries=settings.max_retries,
        delay=settings.retry_backoff_base,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
    try:
        yield
    except BatchBusyError as error:
        if retries < BUSY_RETRIES:
            raise dg.RetryRequested(max_retries=BUSY_RETRIES, seconds_to_wait=BUSY_WAIT) from error
        raise _failure(error) from error
    except Exception as error:
        if is_recoverable(error) and retries < policy.max_retries:
            wait = policy.calculate_delay(retries + 1)
            raise dg.RetryRequested(max_retries=policy.max_retries, seconds_to_wait=wait) from error
        raise _failure(error) from error


def heed_person(context: dg.AssetExecutionContext, database: Database, gate: bytes) -> None:
    """Open a gate that was shut until somebody acts, where somebody re-executes a run: that is an operator's word.

    Dagster's own retries, the sensors' runs and `helix import` are not.
    """
    if context.run.parent_run_id is not None and RETRY_TAG not in context.run.tags:
        with database.transaction() as connection:
            if reopen_shut(connection, gate):
                context.log.info("The embedding service is asked again, as this run was re-executed by a person.")


def postpone(
    context: dg.AssetExecutionContext, database: Database, batch: BatchWork, error: UnavailableError, gate: bytes
) -> None:
    """Put the batch aside and tag its run with what became of it, as the run itself ends as a success."""
    state = run_chunk(database, lambda connection: defer(connection, batch, error, gate))
    context.log.warning(f"Batch {batch.partition_key} is {state}. {error}")
    context.instance.add_run_tags(context.run.run_id, {OUTCOME_TAG: str(state)})


def is_recoverable(error: BaseException) -> bool:
    """Whether running the step again can help, without anybody having done something."""
    if isinstance(error, PhaseError):
        return error.recoverable
    return isinstance(error, TransientError | LimitedError) or is_retryable(error)


def _failure(error: Exception) -> dg.Failure:
    code = error.code if isinstance(error, HelixError) else type(error).__name__
    message = error.message if isinstance(error, HelixError) else str(error)
    return dg.Failure(
        description=f"{code}: {message}",
        metadata={"code": code, "message": message, "recoverable": is_recoverable(error)},
        allow_retries=False,
    )
