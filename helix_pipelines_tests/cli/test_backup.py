from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from helix_pipelines.storage.migrations import HEAD
from helix_pipelines_tests.cli.conftest import RunHelix


def test_what_was_backed_up_comes_back(helix_on_database: RunHelix, database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url) as before:
        before.execute("INSERT INTO helix.collection (name) VALUES ('kept')")
    done = helix_on_database("backup", "--json")
    assert done.code == 0
    backup = Path(done.document["file"])
    assert backup.parent == tmp_path / "home" / "backups"
    assert backup.stat().st_size == done.document["bytes"] > 0
    with psycopg.connect(database_url) as after:
        after.execute("DELETE FROM helix.collection WHERE name = 'kept'")

    restored = helix_on_database("restore", str(backup), "--yes", "--json")
    assert (restored.code, restored.document["revision"]) == (0, HEAD)
    with psycopg.connect(database_url) as again:
        assert again.execute("SELECT count(*) FROM helix.collection WHERE name = 'kept'").fetchone() == (1,)


def test_a_file_that_is_there_is_not_replaced_unasked(
    helix_on_database: RunHelix, connection: psycopg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "mine.dump"
    path.write_text("precious")
    refused = helix_on_database("backup", str(path), "--json")
    assert (refused.code, refused.document["error"]["code"]) == (2, "FILE_EXISTS")
    assert path.read_text() == "precious"
    assert helix_on_database("backup", str(path), "--force").code == 0


def test_a_database_in_use_is_not_restored(
    helix_on_database: RunHelix, connection: psycopg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "now.dump"
    assert helix_on_database("backup", str(path)).code == 0
    refused = helix_on_database("restore", str(path), "--yes", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "DATABASE_IN_USE")


def test_a_restore_without_a_file_is_wrong_use(helix_on_database: RunHelix, tmp_path: Path) -> None:
    assert helix_on_database("restore", str(tmp_path / "none.dump"), "--yes").code == 2


@pytest.mark.parametrize("name", ["/proc/x/y.dump", "/dev/null/y.dump", "a" * 300])
def test_a_backup_that_can_be_written_nowhere_is_wrong_use(
    helix_on_database: RunHelix, connection: psycopg.Connection, name: str
) -> None:
    ended = helix_on_database("backup", name, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (2, "FILE_NOT_WRITABLE")
    assert name in ended.document["error"]["message"]


def test_a_restore_that_nobody_can_be_asked_about_says_how_it_is_done(helix: RunHelix, tmp_path: Path) -> None:
    (tmp_path / "some.dump").touch()
    ended = helix("restore", "some.dump", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (2, "CONFIRMATION_NEEDED")
    assert "--yes" in ended.document["error"]["message"]
