"""A chunk of work as one transaction, tried again where PostgreSQL says that trying again can help."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

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

    Where the connection was lost while it was committed, the server is asked what became of it: what it has is not repeated.
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
    sent: _Sent[T] | None = None
    for attempt in retrying:
        with attempt:
            if sent is not None and _is_committed(database, sent.transaction):
                return sent.result
            sent = None
            with database.transaction() as connection:
                transaction = _number(connection)
                sent = _Sent(transaction, work(connection))
            return sent.result
    raise AssertionError("tenacity ends in a result or an error")


class _Sent(NamedTuple, Generic[T]):
    """A transaction that was asked to commit, by its number, and what its work came to."""

    transaction: str
    result: T


def _number(connection: psycopg.Connection) -> str:
    row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert row is not None
    return str(row[0])


def _is_committed(database: Database, transaction: str) -> bool:
    """Raises psycopg.OperationalError while the server has not made up its mind: it notices late that nobody waits any more."""
    with database.transaction() as connection:
        row = connection.execute("SELECT pg_xact_status(%s::xid8)", [transaction]).fetchone()
    assert row is not None
    if row[0] == "in progress":
        raise psycopg.OperationalError(f"transaction {transaction} is still going on")
    return bool(row[0] == "committed")


def _warn(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "chunk_retried", attempt=state.attempt_number, sqlstate=getattr(error, "sqlstate", None), error=str(error)
    )
