"""What an import makes of a full disk, and of a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines_tests.databases import NOT_DURABLE, Databases, ThrowawayPostgres
from helix_pipelines_tests.deployment import Deployment, deployment
from helix_pipelines_tests.recovery import clock_jumps
from helix_pipelines_tests.recovery.faulty_database import begin_import, filled_up, small_disk
from helix_pipelines_tests.recovery.live_service import place_database
from helix_pipelines_tests.recovery.orphans import start_process
from helix_pipelines_tests.waiting import until

__all__ = ["deployment"]

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(300)]
ROWS = 600
DISK_MEGABYTES = 400
SPARE_BYTES = 64 * 1024
FULL_SECONDS = 5.0
DAY = 86_400.0


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder at which a small disk is mounted."""
    folder = Path("/dev/shm") / f"helix-disk-{os.getpid()}"
    folder.mkdir()
    try:
        with small_disk(folder, DISK_MEGABYTES):
            yield folder
    except subprocess.CalledProcessError:
        pytest.skip("a disk can only be mounted by root, outside of a container that forbids it")
    finally:
        folder.rmdir()


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Iterator[ThrowawayPostgres]:
    """A server whose data is on the small disk."""
    home = tmp_path / "server"
    place_database(home, disk / "database")
    server = ThrowawayPostgres(home, NOT_DURABLE)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIX_RETRY_BACKOFF_BASE", "1")


class TestFullDisk:
    @pytest.fixture
    def migrated_url(self, server: ThrowawayPostgres) -> str:
        return Databases(server.start()).migrated()

    def test_a_full_disk_of_the_database_is_named_and_waited_for(
        self, quick: None, disk: Path, server: ThrowawayPostgres, deployment: Deployment, tmp_path: Path
    ) -> None:
        deployment.service.set_faults(latency=0.3)
        key = deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=10)
        importing = begin_import(deployment, key)
        with filled_up(disk, SPARE_BYTES):
            until(lambda: "DiskFull" in importing.run.log.read_text(), 100, "the disk has room for all")
            time.sleep(FULL_SECONDS)
        server.start()  # where it could not write its log, it gave up
        failures = importing.finish()
        # Where Dagster's own tables have no room first, it gives the step up.
        assert {failure["code"] for failure in failures} <= {"DISK_FULL", "DATABASE_UNAVAILABLE", "INTERRUPTED"}
        assert all(failure["recoverable"] and failure["advice"] for failure in failures)
        [counted] = deployment.query("SELECT count(*) AS served FROM helix.knowledge_base")
        assert counted["served"] == ROWS


@pytest.mark.parametrize("seconds", [DAY, -DAY], ids=["forwards", "backwards"])
def test_a_clock_that_jumps_by_a_day_changes_nothing(
    quick: None, deployment: Deployment, tmp_path: Path, seconds: float
) -> None:
    signal = tmp_path / "jump"
    deployment.service.set_faults(latency=0.3)
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=20)
    command = [sys.executable, "-m", clock_jumps.__name__, str(seconds), str(signal)]
    importing = begin_import(deployment, key, start_process(deployment, key, command))
    signal.touch()
    assert importing.finish() == []
    assert deployment.batch(key)["attempts"] == 1
    [counted] = deployment.query("SELECT count(*) AS served FROM helix.knowledge_base")
    assert counted["served"] == ROWS
    assert deployment.service.counters().texts_seen_twice == 0
