from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from dagster_postgres.run_storage import PostgresRunStorage

from helix_pipelines.instance import dagster_home
from helix_pipelines.instance.dagster_home import dagster_environment, dagster_url, prepare_dagster_home
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Secret, Settings

URL = "postgresql://helix:secret@127.0.0.1:5432/helix"
DAGSTER_URL = "postgresql+psycopg2://helix:secret@127.0.0.1:5432/helix"


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "originals"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (folder / "workspace.yaml").write_text("load_from: []\n")
    monkeypatch.setattr(dagster_home, "ORIGINALS", (tmp_path / "nowhere", folder))
    return folder


def test_the_instance_files_are_copied_from_their_originals(tmp_path: Path, originals: Path) -> None:
    home = prepare_dagster_home(Settings(home=tmp_path / "home"), URL)
    assert home == tmp_path / "home" / "dagster"
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    assert (home / "workspace.yaml").read_text() == "load_from: []\n"


def test_only_the_owner_can_read_the_instance_folder(tmp_path: Path, originals: Path) -> None:
    home = prepare_dagster_home(Settings(home=tmp_path / "home"), URL)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {0o600}


def test_a_file_is_replaced_only_when_its_original_changed(tmp_path: Path, originals: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    home = prepare_dagster_home(settings, URL)
    before = {file.name: file.stat().st_ino for file in home.iterdir()}
    (originals / "workspace.yaml").write_text("load_from: [{python_module: other}]\n")
    prepare_dagster_home(settings, URL)
    after = {file.name: file.stat().st_ino for file in home.iterdir()}
    assert after["dagster.yaml"] == before["dagster.yaml"]
    assert after["workspace.yaml"] != before["workspace.yaml"]
    assert set(after) == set(before), "no temporary file is left"


def test_the_password_of_the_database_stays_out_of_the_files(tmp_path: Path, originals: Path) -> None:
    home = prepare_dagster_home(Settings(home=tmp_path / "home"), URL)
    assert all("secret" not in file.read_text() for file in home.iterdir())


def test_missing_originals_name_both_places(tmp_path: Path, originals: Path) -> None:
    (originals / "workspace.yaml").unlink()
    with pytest.raises(SetupError, match=r"workspace\.yaml is neither in .*nowhere or .*originals") as caught:
        prepare_dagster_home(Settings(home=tmp_path / "home"), URL)
    assert caught.value.code == "DAGSTER_FILES_MISSING"


def test_a_url_that_is_not_postgresql_is_refused_before_anything_is_written(tmp_path: Path, originals: Path) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL_INVALID"):
        prepare_dagster_home(Settings(home=tmp_path / "home"), "mysql://localhost/helix")
    assert not (tmp_path / "home").exists()


def test_dagster_gets_the_psycopg2_url_and_absolute_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = dagster_environment(Settings(home=Path("relative")), URL)
    assert environment == {
        "DAGSTER_HOME": str(tmp_path / "relative" / "dagster"),
        "HELIX_DAGSTER_DATABASE_URL": f"{DAGSTER_URL}?options=-csearch_path%3Dpublic%20-ctimezone%3DUTC",
        "HELIX_HOME": str(tmp_path / "relative"),
        "HELIX_INBOX": str(tmp_path / "relative" / "inbox"),
    }


def test_the_parameters_of_a_url_are_kept() -> None:
    url = dagster_url(f"{URL}?sslmode=require&options=-cwork_mem%3D8MB")
    assert url == f"{DAGSTER_URL}?sslmode=require&options=-cwork_mem%3D8MB%20-csearch_path%3Dpublic%20-ctimezone%3DUTC"


def test_dagsters_tables_stay_out_of_the_schema_of_the_same_name_as_the_user(make_database: Callable[[], str]) -> None:
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA helix")  # the user's name
    storage = PostgresRunStorage.create_clean_storage(dagster_url(url))
    storage.dispose()
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT DISTINCT schemaname::text FROM pg_tables WHERE tablename = 'runs'").fetchall()
    assert rows == [("public",)]


def test_a_database_of_the_deployment_is_handed_on_and_an_embedded_one_is_not(tmp_path: Path) -> None:
    assert "HELIX_DATABASE_URL" not in dagster_environment(Settings(home=tmp_path), URL)
    own = Settings(home=tmp_path, database_url=Secret(URL))
    assert dagster_environment(own, URL)["HELIX_DATABASE_URL"] == URL


def test_preparing_the_folder_does_not_import_dagster() -> None:
    script = "import sys, helix_pipelines.instance.dagster_home; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
