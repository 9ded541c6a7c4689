from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest


@pytest.fixture(scope="module")
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """A transaction that is rolled back at the end of the test."""
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


def log(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT table_name, action, row_count, keys, changed FROM helix.audit_log ORDER BY id"
    ).fetchall()


def add_batch(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "INSERT INTO helix.import_batch (partition_key, name, position) VALUES ('a-batch', 'secret name', 1) RETURNING id"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_decision_is_logged_with_the_names_of_what_changed_and_no_values(connection: psycopg.Connection) -> None:
    batch = add_batch(connection)
    connection.execute("UPDATE helix.import_batch SET state = 'launched', position = NULL, run_id = 'hidden'")
    connection.execute("DELETE FROM helix.import_batch")
    inserted, updated, deleted = log(connection)
    assert inserted[:4] == ("import_batch", "insert", 1, {"id": batch, "state": "queued"})
    assert {"name", "partition_key", "state", "position"} <= set(inserted[4])
    assert updated == ("import_batch", "update", 1, {"id": batch, "state": "launched"}, ["position", "run_id", "state"])
    assert deleted[:3] == ("import_batch", "delete", 1)
    everything = connection.execute("SELECT string_agg(a::text, '') FROM helix.audit_log a").fetchone()
    assert everything is not None
    assert "secret name" not in everything[0]
    assert "hidden" not in everything[0]


def test_a_heartbeat_is_not_a_decision(connection: psycopg.Connection) -> None:
    add_batch(connection)
    before = log(connection)
    connection.execute("UPDATE helix.import_batch SET lease_expires_at = now(), counters = '{\"rows\": 1}'")
    connection.execute("UPDATE helix.import_batch SET name = name")
    assert log(connection) == before


def test_a_line_tells_who_acted(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('helix.actor', 'anna', true)")
    add_batch(connection)
    assert connection.execute("SELECT DISTINCT actor FROM helix.audit_log").fetchone() == ("anna",)
    connection.execute("SELECT set_config('helix.actor', '', true)")
    connection.execute("UPDATE helix.import_batch SET priority = 1")
    last = connection.execute(
        "SELECT actor, session_user::text FROM helix.audit_log ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert last is not None
    assert last[0] == last[1]


def test_a_statement_on_many_pairs_is_one_line_with_their_range(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO helix.qa_pair (collection_id, content_hash, question_key, question, answer, derived_version,"
        " first_import_id) SELECT 1, gen_random_uuid(), gen_random_uuid(), 'q', 'a', 1, 1 FROM generate_series(1, 500)"
    )
    connection.execute("UPDATE helix.qa_pair SET language = 'en' WHERE id IN (SELECT id FROM helix.qa_pair LIMIT 10)")
    connection.execute("UPDATE helix.qa_pair SET language = 'en' WHERE false")
    bounds = connection.execute("SELECT min(id), max(id) FROM helix.qa_pair").fetchone()
    connection.execute("DELETE FROM helix.qa_pair")
    inserted, updated, deleted = log(connection)
    assert bounds is not None
    span = {"first_id": bounds[0], "last_id": bounds[1]}
    assert inserted == ("qa_pair", "insert", 500, span, [])
    assert updated[:3] == ("qa_pair", "update", 10)
    assert deleted == ("qa_pair", "delete", 500, span, [])


@pytest.mark.parametrize("table", ["import_row", "occurrence"])
def test_a_statement_on_the_ledger_is_one_line_an_import(connection: psycopg.Connection, table: str) -> None:
    columns, values = {
        "import_row": ("import_job_id, ordinal, row_number, decision", "j, n, n, 'pending'"),
        "occurrence": (
            "import_job_id, ordinal, row_number, source_id, row_key, collection_id, pair_id, content_hash, question_key",
            "j, n, n, j, n, 1, 1, gen_random_uuid(), gen_random_uuid()",
        ),
    }[table]
    connection.execute(
        f"INSERT INTO helix.{table} ({columns})"
        f" SELECT {values} FROM generate_series(7, 8) j, generate_series(1, 100) n".encode()
    )
    lines = sorted(log(connection), key=lambda line: line[3]["import"])
    assert lines == [
        (table, "insert", 100, {"import": number, "first_ordinal": 1, "last_ordinal": 100}, []) for number in (7, 8)
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE helix.audit_log SET actor = 'nobody'",
        "DELETE FROM helix.audit_log",
        "DELETE FROM helix.audit_log WHERE false",
        "TRUNCATE helix.audit_log",
    ],
)
def test_the_log_only_grows(connection: psycopg.Connection, statement: str) -> None:
    add_batch(connection)
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        connection.execute(statement.encode())
