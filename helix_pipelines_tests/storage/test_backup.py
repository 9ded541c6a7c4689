from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.storage.backup import backup, restore
from helix_pipelines.storage.schema import current_revision


@pytest.fixture
def database(migrated_url: str) -> str:
    """A database with the schema, a collection, a vector and a table that is not Helix's."""
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("INSERT INTO helix.collection (name) VALUES ('faq')")
        connection.execute("CREATE TABLE helix.embedding_g1 PARTITION OF helix.embedding FOR VALUES IN (1)")
        connection.execute(
            "INSERT INTO helix.embedding (generation_id, text_hash, state, vector)"
            " VALUES (1, gen_random_uuid(), 'completed', '[1,2,3]')"
        )
        connection.execute("CREATE TABLE public.runs (id serial PRIMARY KEY, run_id text)")
        connection.execute("INSERT INTO public.runs (run_id) VALUES ('one')")
    return migrated_url


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_a_restored_database_holds_what_it_held_and_nothing_newer(database: str, tmp_path: Path) -> None:
    path = backup(database, tmp_path / "backups" / "one.dump")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE helix.collection SET name = 'changed'")
        connection.execute("CREATE TABLE helix.of_a_later_revision (batch bigint REFERENCES helix.import_batch)")
        connection.execute("TRUNCATE public.runs")
        connection.execute("CREATE TABLE public.of_others (id int)")
    restore(database, path)
    assert ask(database, "SELECT name FROM helix.collection") == "faq"
    assert ask(database, "SELECT vector::text FROM helix.embedding") == "[1,2,3]"
    assert ask(database, "SELECT run_id FROM public.runs") == "one"
    assert ask(database, "SELECT to_regclass('helix.of_a_later_revision')") is None
    assert ask(database, "SELECT to_regclass('public.of_others')") is not None
    with pytest.raises(psycopg.errors.RestrictViolation), psycopg.connect(database) as connection:
        connection.execute("TRUNCATE helix.audit_log")


def test_a_backup_goes_into_an_empty_database(database: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    empty = make_database()
    restore(empty, backup(database, tmp_path / "one.dump"))
    assert ask(empty, "SELECT name FROM helix.collection") == "faq"
    with psycopg.connect(empty) as connection:
        assert current_revision(connection) is not None


def test_a_damaged_backup_changes_nothing(database: str, tmp_path: Path) -> None:
    path = backup(database, tmp_path / "one.dump")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(SetupError, match="RESTORE_FAILED"):
        restore(database, path)
    assert ask(database, "SELECT name FROM helix.collection") == "faq"
    path.write_bytes(b"no backup")
    with pytest.raises(SetupError, match="RESTORE_FAILED: pg_restore failed"):
        restore(database, path)


def test_a_restore_that_fails_on_the_way_changes_nothing(database: str, tmp_path: Path) -> None:
    path = backup(database, tmp_path / "one.dump")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE VIEW public.in_the_way AS SELECT run_id FROM public.runs")
        connection.execute("UPDATE helix.collection SET name = 'now'")
    with pytest.raises(SetupError, match=r"(?s)RESTORE_FAILED: Nothing was changed.*in_the_way"):
        restore(database, path)
    assert ask(database, "SELECT name FROM helix.collection") == "now"


def test_only_the_owner_can_read_a_backup_and_a_failed_one_leaves_no_file(database: str, tmp_path: Path) -> None:
    path = backup(database, tmp_path / "one.dump")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SetupError, match="BACKUP_FAILED"):
        backup("postgresql://helix:hidden@127.0.0.1:9/none", tmp_path / "two.dump")
    assert [file.name for file in tmp_path.iterdir()] == ["one.dump"]


def test_no_password_is_on_a_command_line(database: str, tmp_path: Path) -> None:
    password = psycopg.conninfo.conninfo_to_dict(database)["password"]
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for child in psutil.Process().children(recursive=True):
                try:
                    seen.append(" ".join(child.cmdline()))
                except psutil.NoSuchProcess:
                    continue

    looking = threading.Thread(target=look)
    looking.start()
    restore(database, backup(database, tmp_path / "one.dump"))
    done.set()
    looking.join()
    assert any("pg_dump" in line for line in seen)
    assert not any(str(password) in line for line in seen)


def test_programs_on_the_path_serve_where_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> Path:
        raise SetupError("POSTGRES_BINARIES_MISSING", "not here")

    monkeypatch.setattr("helix_pipelines.instance.postgres_binaries.wheel_bin_dir", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="POSTGRES_PROGRAMS_MISSING"):
        backup("postgresql://127.0.0.1:9/none", tmp_path / "one.dump")
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho from the path >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SetupError, match="BACKUP_FAILED: pg_dump failed: from the path"):
        backup("postgresql://127.0.0.1:9/none", tmp_path / "one.dump")
