"""A chunk of work as one transaction, tried again where PostgreSQL says that trying again can help."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from helix_pipelines.storage.engine import Database

T = TypeVar("T")
log = structlog.get_logger(__name__)

RETRYABLE_CLASSES = ("08", "53", "57P0")
"""SQLSTATE prefixes: connection lost, resources short, server shutting down or starting up."""
RETRYABLE_STATES = frozenset({"40001", "40P01", "55P03", "25P03"})
"""Serialisation failure, deadlock, lock not available, stood still in a transaction. A unique violation (23505) is a fact."""
ATTEMPTS = 3
FIRST_WAIT = 2.0
LONGEST_WAIT = 30.0


def is_retryable(error: BaseException) -> bool:
    """Whether repeating the transaction can help, judged by SQLSTATE and never by message."""
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, OperationalError) and isinstance(error.orig, psycopg.Error):
        error = error.orig
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in RETRYABLE_STATES or error.sqlstate.startswith(RETRYABLE_CLASSES)


def run_chunk(
    database: Database,
    work: Callable[[psycopg.Connection], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Run `work` in a transaction of its own, up to three times; it must not keep state between tries.

    Raises what `work` raised last. `sleep` is for tests.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_retryable),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        before_sleep=_warn,
        sleep=sleep,
        reraise=True,
    )
    for attempt in retrying:
        with attempt, database.transaction() as connection:
            return work(connection)
    raise AssertionError("tenacity ends in a result or an error")


def _warn(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "chunk_retried", attempt=state.attempt_number, sqlstate=getattr(error, "sqlstate", None), error=str(error)
    )
