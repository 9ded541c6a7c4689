"""What every asset does around its stage: hold the batch, and turn an error's verdict into what Dagster does next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.resilience.errors import HelixError, LimitedError, PhaseError, TransientError, UsageError
from helix_pipelines.storage import leases
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import BatchBusyError, BatchWork
from helix_pipelines.storage.transactions import is_retryable

RETRIES = 3
FIRST_DELAY = 60.0
"""Seconds before a step's first retry: calls and transactions have retried for about a minute by themselves."""
RETRY_POLICY = dg.RetryPolicy(
    max_retries=RETRIES, delay=FIRST_DELAY, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For errors that pass; `dg.Failure(allow_retries=False)` ends the others at once."""


@contextmanager
def working_on_batch(
    context: dg.AssetExecutionContext, database: DatabaseResource, phase: str
) -> Iterator[tuple[Database, BatchWork]]:
    """Hold the run's batch for one phase. The block gets the pool to work on and the batch.

    Raises dg.Failure with the code and the message of what went wrong, and dg.RetryRequested while the batch is held by a run
    that may be dead: its lease lapses within seconds.
    """
    with _verdicts(), database.pool() as pool:
        if not context.has_partition_key:
            raise UsageError("PARTITION_MISSING", "Choose the partition, that is the import batch, to materialize.")
        with leases.phase(pool, context.partition_key, context.run.run_id, phase) as batch:
            yield pool, batch


def is_recoverable(error: BaseException) -> bool:
    """Whether running the step again can help, without anybody having done something."""
    if isinstance(error, PhaseError):
        return error.recoverable
    return isinstance(error, TransientError | LimitedError) or is_retryable(error)


@contextmanager
def _verdicts() -> Iterator[None]:
    try:
        yield
    except BatchBusyError as error:
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=leases.LEASE_SECONDS + 1) from error
    except Exception as error:
        raise _failure(error) from error


def _failure(error: Exception) -> dg.Failure:
    recoverable = is_recoverable(error)
    code = error.code if isinstance(error, HelixError) else type(error).__name__
    message = error.message if isinstance(error, HelixError) else str(error)
    return dg.Failure(
        description=f"{code}: {message}",
        metadata={"code": code, "message": message, "recoverable": recoverable},
        allow_retries=recoverable,
    )
