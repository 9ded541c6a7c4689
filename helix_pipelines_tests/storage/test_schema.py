from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.storage import schema
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.schema import current_revision, ensure_schema, migrate, sqlalchemy_url
from helix_pipelines.storage.states import TRANSITIONS, BatchState


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A transaction that is rolled back at the end of the test."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


def add_batch(connection: psycopg.Connection, key: str, position: int | None = 1, state: str = "queued") -> int:
    row = connection.execute(
        "INSERT INTO helix.import_batch (partition_key, name, state, position) VALUES (%s, %s, %s, %s) RETURNING id",
        [key, key, state, position],
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_import(connection: psycopg.Connection) -> int:
    batch = add_batch(connection, "a-batch")
    row = connection.execute(
        "WITH c AS (INSERT INTO helix.collection (name) VALUES ('faq') RETURNING id),"
        " s AS (INSERT INTO helix.source (collection_id, name) SELECT id, 'a.csv' FROM c RETURNING id)"
        " INSERT INTO helix.import_job (batch_id, source_id, path, mode, pipeline_version)"
        " SELECT %s, id, '/in/a.csv', 'append', '1' FROM s RETURNING id",
        [batch],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_an_empty_database_gets_the_newest_schema(make_database: Callable[[], str]) -> None:
    url = make_database()
    ensure_schema(url)
    with psycopg.connect(url) as connection:
        assert current_revision(connection) == HEAD
    ensure_schema(url)


def test_several_processes_may_create_the_schema_at_once(make_database: Callable[[], str]) -> None:
    url = make_database()
    errors: list[Exception] = []

    def create() -> None:
        try:
            ensure_schema(url)
        except (SetupError, psycopg.Error) as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_failed_migration_leaves_nothing_behind(make_database: Callable[[], str]) -> None:
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA helix")
        connection.execute("CREATE TABLE helix.inbox_file (in_the_way int)")
    with pytest.raises(Exception, match="already exists"):
        ensure_schema(url)
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'helix'").fetchall()
        assert tables == [("inbox_file",)]
        assert current_revision(connection) is None


def test_going_back_to_base_empties_the_schema_and_up_again_restores_it(migrated_url: str) -> None:
    migrate(migrated_url, "base")
    with psycopg.connect(migrated_url) as connection:
        assert current_revision(connection) is None
    ensure_schema(migrated_url)


@pytest.mark.parametrize(("head", "code"), [("9999", "SCHEMA_OUTDATED"), ("0000", "SCHEMA_TOO_NEW")])
def test_another_version_of_the_schema_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch, head: str, code: str
) -> None:
    monkeypatch.setattr(schema, "HEAD", head)
    with pytest.raises(SetupError) as caught:
        ensure_schema(database_url)
    assert caught.value.code == code


def test_the_driver_of_a_url_is_named() -> None:
    assert sqlalchemy_url("postgres://u@h/d", "psycopg2") == "postgresql+psycopg2://u@h/d"
    assert sqlalchemy_url("postgresql+asyncpg://u@h/d") == "postgresql+psycopg://u@h/d"
    with pytest.raises(SetupError, match="DATABASE_URL_INVALID"):
        sqlalchemy_url("mysql://u@h/d")


def test_the_transitions_of_code_and_database_are_the_same(connection: psycopg.Connection) -> None:
    rows = connection.execute("SELECT from_state, to_state FROM helix.batch_transition").fetchall()
    assert set(rows) == {(str(one), str(other)) for one, others in TRANSITIONS.items() for other in others}
    assert set(TRANSITIONS) == set(BatchState)


def test_a_forbidden_transition_is_refused_for_every_writer(connection: psycopg.Connection) -> None:
    batch = add_batch(connection, "a-batch")
    connection.execute("UPDATE helix.import_batch SET state = 'cancelled', position = NULL WHERE id = %s", [batch])
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot go from cancelled to done"):
        connection.execute("UPDATE helix.import_batch SET state = 'done' WHERE id = %s", [batch])


@pytest.mark.parametrize(("state", "position"), [("queued", None), ("running", 1)])
def test_queued_batches_and_no_others_have_a_position(
    connection: psycopg.Connection, state: str, position: int | None
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_import_batch_position"):
        add_batch(connection, "a-batch", position, state)


def test_positions_are_unique_when_the_transaction_ends(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        add_batch(connection, "one", 1)
        add_batch(connection, "two", 2)
        connection.execute("UPDATE helix.import_batch SET position = 3 - position")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        connection.execute("UPDATE helix.import_batch SET position = 1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.commit()


@pytest.mark.parametrize("key", ["Upper", "with,comma", "line\nbreak", "", "x" * 121, "dots...dots"])
def test_partition_keys_that_break_the_ui_are_refused(connection: psycopg.Connection, key: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_import_batch_partition_key"):
        add_batch(connection, key)


def test_an_import_cannot_account_for_more_rows_than_it_read(connection: psycopg.Connection) -> None:
    job = add_import(connection)
    connection.execute("UPDATE helix.import_job SET rows_read = 3, inserted = 1, quarantined = 1 WHERE id = %s", [job])
    assert connection.execute("SELECT pending FROM helix.import_job").fetchone() == (1,)
    with pytest.raises(psycopg.errors.CheckViolation, match="adds_up"):
        connection.execute("UPDATE helix.import_job SET updated = 2 WHERE id = %s", [job])


def test_an_import_with_pending_rows_is_not_completed(connection: psycopg.Connection) -> None:
    job = add_import(connection)
    with pytest.raises(psycopg.errors.CheckViolation, match="completed_has_no_pending"):
        connection.execute("UPDATE helix.import_job SET rows_read = 1, state = 'completed' WHERE id = %s", [job])


def test_a_quarantined_row_has_a_code_and_an_accepted_one_has_none(connection: psycopg.Connection) -> None:
    line = "INSERT INTO helix.import_row (import_job_id, ordinal, row_number, decision, code) VALUES (1, 1, 1, %s, %s)"
    for decision, code in (("quarantine", None), ("insert", "EMPTY_ANSWER")):
        with pytest.raises(psycopg.errors.CheckViolation, match="quarantine_has_a_code"), connection.transaction():
            connection.execute(line, [decision, code])


def test_one_generation_is_active(connection: psycopg.Connection) -> None:
    active = "INSERT INTO helix.embedding_generation (model, dimensions, recipe, status) VALUES ('m', 3, 'r', 'active')"
    connection.execute(active)
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(active)


def test_the_content_of_a_pair_never_changes_and_what_is_derived_may(connection: psycopg.Connection) -> None:
    add_pair(connection, 1, "Who?")
    connection.execute("UPDATE helix.qa_pair SET language = 'en', derived_version = 2")
    for column in ("question", "answer"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="immutable"), connection.transaction():
            connection.execute(f"UPDATE helix.qa_pair SET {column} = 'other'".encode())


def test_the_view_shows_served_pairs_with_all_their_rows(connection: psycopg.Connection) -> None:
    job = add_import(connection)
    row = connection.execute("SELECT id FROM helix.collection").fetchone()
    assert row is not None
    served, hidden = add_pair(connection, row[0], "Who?"), add_pair(connection, row[0], "Why?")
    for key, (pair, shown, number) in enumerate([(served, served, 4), (served, served, 9), (hidden, None, 5)]):
        connection.execute(
            "INSERT INTO helix.occurrence (source_id, row_key, collection_id, pair_id, served_pair_id, import_job_id,"
            " ordinal, row_number, content_hash, question_key)"
            " SELECT source_id, %s, 1, %s, %s, id, %s, %s, gen_random_uuid(), gen_random_uuid() FROM helix.import_job",
            [key, pair, shown, number, number],
        )
    rows = connection.execute(
        "SELECT pair_id, collection, question, stale, sources FROM helix.knowledge_base"
    ).fetchall()
    place = {"source": "a.csv", "path": "/in/a.csv", "sheet": None, "import": job}
    assert rows == [(served, "faq", "Who?", False, [{**place, "row": 4}, {**place, "row": 9}])]


def add_pair(connection: psycopg.Connection, collection: int, question: str) -> int:
    row = connection.execute(
        "INSERT INTO helix.qa_pair (collection_id, content_hash, question_key, question, answer, derived_version,"
        " first_import_id) VALUES (%s, gen_random_uuid(), gen_random_uuid(), %s, 'Me.', 1, 1) RETURNING id",
        [collection, question],
    ).fetchone()
    assert row is not None
    return int(row[0])
