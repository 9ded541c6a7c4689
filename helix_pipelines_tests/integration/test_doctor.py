"""`helix doctor` on deployments that are fit, and on ones that are not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from helix_pipelines.cli import main
from helix_pipelines.instance import doctor_files
from helix_pipelines.instance.checkup import Answer, Check, Status, ok, run_checks
from helix_pipelines.instance.dagster_home import prepare_dagster_home
from helix_pipelines.instance.doctor_database import SENSOR_THREADS, check_clock, check_connections
from helix_pipelines.instance.doctor_files import check_inbox, check_litter, check_store
from helix_pipelines.settings import Settings
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.integration.dead_runs import make_batch
from helix_pipelines_tests.stages import DIMENSIONS

Checks = dict[str, dict[str, str]]


def examine(capfd: pytest.CaptureFixture[str]) -> tuple[int, Checks]:
    """The exit code and the checks by name."""
    code = main(["doctor", "--json"])
    checks = json.loads(capfd.readouterr().out)["checks"]
    return code, {check["check"]: check for check in checks}


def test_a_deployment_at_rest_has_no_fault_and_says_that_its_daemon_does_not_run(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_files, "FREE_NEEDED", 0)  # the disk of whoever runs the tests is not ours to judge
    code, checks = examine(capfd)
    others = {name: check for name, check in checks.items() if name not in {"disk", "daemon"}}
    assert [check for check in others.values() if check["status"] != "ok"] == []
    assert code == 0
    assert f"with {DIMENSIONS} dimensions" in checks["embedding"]["detail"]
    assert (checks["daemon"]["status"], checks["daemon"]["detail"]) == ("warning", "It is not running.")
    assert all(check["advice"] for check in checks.values() if check["status"] != "ok")
    assert not list(deployment.settings.home.glob("doctor-*"))


def test_faults_are_told_with_what_to_do(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELIX_DATABASE_POOL_SIZE", "50")
    make_batch(deployment, tmp_path, "launched")
    deployment.query(
        "INSERT INTO helix.embedding_generation (model, dimensions, recipe, status) VALUES ('other', 7, '', 'active')"
    )
    code, checks = examine(capfd)
    assert code == 1
    assert "HELIX_EMBEDDING_MODEL" in checks["embedding"]["advice"]
    assert "The knowledge base has other with 7." in checks["embedding"]["detail"]
    assert "max_connections" in checks["connections"]["advice"]
    assert (checks["stranded"]["status"], "helix recover" in checks["stranded"]["advice"]) == ("warning", True)
    assert deployment.query("SELECT state FROM helix.import_batch") == [{"state": "launched"}]


def test_a_schema_of_another_version_is_a_fault_and_nothing_that_needs_it_is_looked_at(
    deployment: Deployment, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    deployment.query("UPDATE helix.alembic_version SET version_num = '0001'")
    code, checks = examine(capfd)
    assert code == 1
    assert checks["schema"]["advice"] == "Run `helix db upgrade`."
    assert checks["stranded"]["detail"] == "Not looked at: the schema is not that of this version."


def test_a_service_that_is_away_is_a_fault_within_the_time(
    deployment: Deployment, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    deployment.service.outage("503")
    began = time.monotonic()
    code, checks = examine(capfd)
    assert time.monotonic() - began < 30
    assert (code, checks["embedding"]["status"]) == (1, "fault")
    assert deployment.service.counters().requests == 1


def test_a_service_whose_places_are_taken_is_only_a_warning(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_RPM", "1")
    examine(capfd)
    _, checks = examine(capfd)
    assert (checks["embedding"]["status"], "its budget is in use" in checks["embedding"]["detail"]) == ("warning", True)


def test_without_a_database_the_rest_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HELIX_HOME", str(tmp_path))
    monkeypatch.setenv("HELIX_DATABASE_URL", "postgresql://helix:hidden@127.0.0.1:9/none")
    code, checks = examine(capfd)
    assert code == 1
    assert "DATABASE_UNREACHABLE" in checks["database"]["detail"]
    assert "hidden" not in str(checks)
    assert checks["store"]["status"] == "ok"
    assert checks["stranded"]["detail"] == "Not looked at: the database cannot be used."


def test_settings_that_cannot_be_read_are_the_first_fault(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HELIX_MAX_RETRIES", "many")
    assert main(["doctor"]) == 1
    shown = capfd.readouterr().out
    assert shown.startswith("fault   settings    HELIX_MAX_RETRIES")


def test_a_check_that_hangs_is_told_and_holds_up_no_other() -> None:
    def hang() -> Answer:
        time.sleep(30)
        return ok("late")

    began = time.monotonic()
    results = run_checks([Check("hangs", hang), Check("works", lambda: ok("fine"))], 0.3)
    assert time.monotonic() - began < 5
    assert [(result.check, result.answer.status) for result in results] == [
        ("hangs", Status.FAULT),
        ("works", Status.OK),
    ]
    assert results[0].answer.detail == "There was no answer within 0.3 s."


def test_the_connections_of_a_deployment_are_counted(migrated_url: str, tmp_path: Path) -> None:
    answer = check_connections(migrated_url, Settings())
    expected = "62 at most: 6 pools of 5 (2 runs, 4 sensors), 2 to gates, 6 Dagster processes with 5."
    assert (answer.status, expected in answer.detail) == (Status.OK, True)
    configured = yaml.safe_load(
        (prepare_dagster_home(Settings(home=tmp_path), migrated_url) / "dagster.yaml").read_text()
    )
    assert configured["sensors"]["num_workers"] == SENSOR_THREADS


@pytest.mark.parametrize(("ahead", "expected"), [(0, Status.OK), (10, Status.WARNING), (-100, Status.FAULT)])
def test_clocks_that_differ_are_told(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, ahead: float, expected: Status
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    assert check_clock(migrated_url).status is expected


@pytest.fixture(autouse=True)
def databases_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root's embedded databases are: not that of this machine, on which anything may be."""
    folder = tmp_path / "databases"
    monkeypatch.setattr(doctor_files, "SYSTEM_ROOT", folder)
    return folder


def test_a_database_whose_home_was_removed_is_told(tmp_path: Path, databases_of_root: Path) -> None:
    for name, home in (("a", tmp_path), ("b", tmp_path / "gone")):
        (databases_of_root / name).mkdir(parents=True)
        (databases_of_root / name / "home").write_text(f"{home}\n")
    answer = check_litter(tmp_path)
    assert answer.detail == f"1 databases belong to homes that were removed, such as {databases_of_root / 'b'}."


def test_what_a_crash_left_on_the_disk_is_told(tmp_path: Path) -> None:
    draft = tmp_path / "store" / ".a.0123456789abcdef0123456789abcdef"
    draft.parent.mkdir()
    draft.touch()
    assert check_litter(tmp_path).status is Status.OK, "it may be being written"
    os.utime(draft, (0, 0))
    assert "A crash left 1 unfinished files" in check_litter(tmp_path).detail


def test_a_store_and_an_inbox_that_are_missing_are_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert check_store(f"file://{blocked}/store").status is Status.FAULT
    assert check_inbox(tmp_path / "inbox").status is Status.WARNING
