from __future__ import annotations

import io
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.cli.output import ExitCode
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.schema import current_revision
from helix_pipelines_tests.cli.conftest import RunHelix


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def revision(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        return current_revision(connection)


def test_the_schema_goes_down_after_a_backup_and_up_again(
    helix_on_database: RunHelix, connection: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    down = helix_on_database("db", "downgrade", "base", "--yes", "--json")
    assert down.code == 0
    assert down.document["before"] == HEAD
    backup = Path(down.document["backup"])
    assert backup.parent == tmp_path / "home" / "backups"
    assert backup.stat().st_size > 0
    assert revision(database_url) is None

    up = helix_on_database("db", "upgrade", "--json")
    assert up.code == 0
    assert up.document == {"before": None, "revision": HEAD, "backup": None}
    assert revision(database_url) == HEAD


def test_an_upgrade_with_nothing_to_do_takes_no_backup(
    helix_on_database: RunHelix, connection: psycopg.Connection
) -> None:
    assert helix_on_database("db", "upgrade", "--json").document["backup"] is None
    assert "already" in helix_on_database("db", "upgrade").stdout


def test_a_downgrade_asks_first(
    helix_on_database: RunHelix, connection: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    ended = helix_on_database("db", "downgrade", "base")
    assert ended.code == ExitCode.INTERRUPTED
    assert revision(database_url) == HEAD


def test_a_downgrade_that_nobody_can_be_asked_about_says_how_it_is_done(
    helix_on_database: RunHelix, connection: psycopg.Connection, database_url: str
) -> None:
    ended = helix_on_database("db", "downgrade", "base", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (2, "CONFIRMATION_NEEDED")
    assert "--yes" in ended.document["error"]["message"]
    assert revision(database_url) == HEAD


def test_an_unknown_revision_is_wrong_use(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix_on_database("db", "downgrade", "9999", "--yes", "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "REVISION_UNKNOWN"


def test_the_migrations_of_this_release_are_safe(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix_on_database("db", "check", "--json")
    assert ended.code == 0
    assert ended.document["ok"] is True
