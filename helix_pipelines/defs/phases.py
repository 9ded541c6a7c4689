"""What every asset does around its stage: hold the batch, and turn how the stage ended into what Dagster does next."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import dagster as dg

from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.instance.run_failures import RETRY_TAG
from helix_pipelines.resilience.errors import (
    BatchStoppedError,
    FencedError,
    HelixError,
    UnavailableError,
    UsageError,
)
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines.storage.batch_runs import BatchBusyError, BatchRun
from helix_pipelines.storage.deferral import defer
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.failures import Failure, diagnose
from helix_pipelines.storage.gates import reopen_shut
from helix_pipelines.storage.leases import BatchWork, Place, StopReason
from helix_pipelines.storage.transactions import run_chunk

OUTCOME_TAG = "helix/outcome"
"""Of a run that succeeded without finishing its batch: `deferred`, `paused`, `cancelled`, `interrupted` or `skipped`."""
OUTCOMES = {
    StopReason.PAUSE: "paused",
    StopReason.CANCEL: "cancelled",
    StopReason.SHUTDOWN: "interrupted",
    StopReason.RUN_TIMEOUT: "interrupted",
}
SKIPPED = "skipped"
WHAT_FOLLOWS = {
    "paused": "What is done stays. It goes on from there when somebody says so: by Materialize on its partition, or"
    " `helix queue resume {batch}`.",
    "cancelled": "What is done stays. `helix queue retry {batch}` takes it up again.",
    "interrupted": "What is done stays. It goes on from there by itself.",
    "error": "What is done stays. Once it is mended, re-execute this run from failure, or `helix queue retry {batch}`.",
    "queued": "What is done stays. It is tried again by itself.",
    SKIPPED: "There is nothing to do: whoever has the batch goes on with it.",
}
"""What a person who looks at such a run wants to know next."""


@dataclass(slots=True)
class Ending:
    """How a block was left before its end; `outcome` is None where it was not."""

    outcome: str | None = None


@contextmanager
def ending_quietly(context: dg.AssetExecutionContext) -> Iterator[Ending]:
    """Leave a block without an error where the batch is another run's, or somebody asked the run to stop.

    The asset then yields no materialization, what comes after it is skipped, and the run ends as a success whose tag says what
    it came to. It goes before `working_on_batch`, which may find that out before its own block begins and could not skip it.
    """
    ending = Ending()
    try:
        yield ending
    except (BatchBusyError, FencedError) as error:
        ending.outcome = SKIPPED
        _leave(context, SKIPPED, error)
    except BatchStoppedError as error:
        ending.outcome = OUTCOMES[StopReason(error.reason)]
        _leave(context, ending.outcome, error)


@contextmanager
def working_on_batch(
    context: dg.AssetExecutionContext, database: DatabaseResource, run: BatchRun, phase: str
) -> Iterator[tuple[Database, BatchWork]]:
    """Hold the run's batch for one phase. The block gets the pool to work on and the batch.

    Raises what `ending_quietly` reacts to, and what `translated` makes of errors.
    """
    with translated(load_settings(), phase, context.retry_number, run), database.pool() as pool:
        if not context.has_partition_key:
            raise UsageError("PARTITION_MISSING", "Choose the partition, that is the import batch, to materialize.")
        with _ending_at_a_chunk(run), run.phase(pool, context.partition_key, phase) as batch:
            yield pool, batch


@contextmanager
def translated(settings: Settings, phase: str, retries: int, run: BatchRun) -> Iterator[None]:
    """Turn errors of the block into Dagster's words, after so many `retries` of the step.

    dg.RetryRequested where trying again can help: `HELIX_MAX_RETRIES` times, first after about `HELIX_RETRY_BACKOFF_BASE`
    seconds, then twice as long each time. Otherwise dg.Failure with all that is known. A run that lost its batch, never got it,
    or was asked to stop has not failed: those errors pass.

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
    except (BatchBusyError, FencedError, BatchStoppedError):
        raise
    except Exception as error:
        failure = diagnose(error)
        if failure.recoverable and retries < policy.max_retries:
            wait = policy.calculate_delay(retries + 1)
            raise dg.RetryRequested(max_retries=policy.max_retries, seconds_to_wait=wait) from error
        raise _failed(failure, phase, run.place, error) from error


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
    batch.lease.end()
    context.log.warning(f"Batch {batch.partition_key} is {state}. {error}")
    _tag(context, str(state))


def what_follows(outcome: str, partition_key: str) -> str:
    """What becomes of the batch of a run that did not finish it, and what a person can do; empty for other outcomes."""
    return WHAT_FOLLOWS.get(outcome, "").format(batch=partition_key)


@contextmanager
def _ending_at_a_chunk(run: BatchRun) -> Iterator[None]:
    """Let SIGTERM, by which `helix down` and service managers end processes, end the run after the transaction that it is in.

    The second SIGTERM interrupts it. Dagster, for which SIGTERM is SIGINT, takes the signal back whenever a step begins or ends,
    so each phase asks for it anew. Between phases it interrupts the run, and Dagster retries that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.getsignal(signal.SIGTERM)

    def ask(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        run.ask(StopReason.SHUTDOWN)

    signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(context: dg.AssetExecutionContext, outcome: str, error: HelixError) -> None:
    """Say in the UI why the asset was not materialized, and what became of the run."""
    follows = what_follows(outcome, context.partition_key)
    context.log.warning(f"This run ends here, as {outcome}. {error} {follows}")
    context.log_event(
        dg.AssetObservation(
            context.asset_key,
            partition=context.partition_key,
            metadata={"state": outcome, "code": error.code, "message": error.message, "what follows": follows},
        )
    )
    _tag(context, outcome)


def _tag(context: dg.AssetExecutionContext, outcome: str) -> None:
    context.instance.add_run_tags(context.run.run_id, {OUTCOME_TAG: outcome})


def _failed(failure: Failure, phase: str, place: Place | None, error: Exception) -> dg.Failure:
    told = f"{failure.code}: {failure.message.rstrip('.')}."
    return dg.Failure(
        description=told if isinstance(error, HelixError) else f"{told} {failure.advice}",
        metadata={
            "phase": phase,
            "code": failure.code,
            "message": failure.message,
            "advice": failure.advice,
            "recoverable": failure.recoverable,
            **({"place": place.to_json()} if place else {}),
        },
        allow_retries=False,
    )
