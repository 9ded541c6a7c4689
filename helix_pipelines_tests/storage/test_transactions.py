"""Chunk transactions: what is repeated, what is not, and that nothing is half done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors

from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.transactions import ATTEMPTS, run_chunk


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.transaction() as connection:
        connection.execute("CREATE TABLE ledger (line integer PRIMARY KEY)")
    yield database
    database.close()


@pytest.fixture(autouse=True)
def _empty(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("TRUNCATE ledger")


def lines(database: Database) -> list[int]:
    with database.transaction() as connection:
        return [line for (line,) in connection.execute("SELECT line FROM ledger ORDER BY 1")]


def write_twice(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO ledger VALUES (1)")
        connection.execute("INSERT INTO ledger VALUES (1)")


def test_a_block_is_committed_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(errors.UniqueViolation):
        write_twice(database)
    assert lines(database) == []


@pytest.mark.parametrize("error", [errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable])
def test_a_chunk_that_lost_a_race_is_repeated(database: Database, error: type[psycopg.Error]) -> None:
    tries = 0

    def work(connection: psycopg.Connection) -> None:
        nonlocal tries
        tries += 1
        connection.execute("INSERT INTO ledger VALUES (1)")
        if tries < ATTEMPTS:
            raise error

    run_chunk(database, work, sleep=lambda _seconds: None)
    assert (tries, lines(database)) == (ATTEMPTS, [1])


def test_a_unique_violation_is_a_fact_and_not_repeated(database: Database) -> None:
    tries = 0

    def work(connection: psycopg.Connection) -> None:
        nonlocal tries
        tries += 1
        connection.execute("INSERT INTO ledger VALUES (1), (1)")

    with pytest.raises(errors.UniqueViolation):
        run_chunk(database, work, sleep=lambda _seconds: None)
    assert tries == 1


def test_a_connection_that_the_server_closed_is_replaced(database: Database) -> None:
    tries = 0

    def work(connection: psycopg.Connection) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            with database.transaction() as other:
                other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("INSERT INTO ledger VALUES (1)")

    run_chunk(database, work, sleep=lambda _seconds: None)
    assert (tries, lines(database)) == (2, [1])


def test_a_database_that_stays_away_is_given_up_with_its_own_error(database: Database) -> None:
    tries = 0

    def work(_connection: psycopg.Connection) -> None:
        nonlocal tries
        tries += 1
        raise errors.AdminShutdown

    with pytest.raises(errors.AdminShutdown):
        run_chunk(database, work, sleep=lambda _seconds: None)
    assert tries == ATTEMPTS


class LosesAnswers(Database):
    """A pool whose connection is lost once a transaction has been committed, as long as `answers_to_lose` is not 0."""

    answers_to_lose = 0

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        with super().transaction() as connection:
            yield connection
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize("lost", [1, 2])
def test_what_was_committed_is_not_repeated_where_the_answer_was_lost(database_url: str, lost: int) -> None:
    pool = LosesAnswers(database_url)
    pool.answers_to_lose = lost
    tries = 0

    def work(connection: psycopg.Connection) -> int:
        nonlocal tries
        tries += 1
        connection.execute("INSERT INTO ledger VALUES (1)")
        return 42

    result = run_chunk(pool, work, sleep=lambda _seconds: None)
    assert (result, tries, lines(pool)) == (42, 1, [1])
    pool.close()


def test_a_transaction_whose_connection_was_lost_before_its_commit_is_repeated(database: Database) -> None:
    tries = 0

    def work(connection: psycopg.Connection) -> None:
        nonlocal tries
        tries += 1
        connection.execute("INSERT INTO ledger VALUES (1)")
        if tries == 1:
            with database.transaction() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])

    run_chunk(database, work, sleep=lambda _seconds: None)
    assert (tries, lines(database)) == (2, [1])
