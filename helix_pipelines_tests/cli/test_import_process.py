"""`helix import` as a process of its own with a real Dagster run below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake

HELIX = [sys.executable, "-c", "import sys; from helix_pipelines.cli import main; sys.exit(main())"]
PATIENCE = 60.0
"""Seconds until a run must have got somewhere; alone on the machine it takes 4."""


@pytest.fixture
def slow_fake() -> Iterator[FakeEmbeddingService]:
    with running_fake(dimensions=16, latency=3.0) as fake:
        yield fake


@pytest.fixture
def environment(database_url: str, slow_fake: FakeEmbeddingService, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HELIX_HOME": str(tmp_path / "home"),
        "HELIX_DATABASE_URL": database_url,
        "HELIX_EMBEDDING_URL": slow_fake.url,
        "HELIX_EMBEDDING_MODEL": "fake",
    }


def wait_for_request(fake: FakeEmbeddingService) -> None:
    limit = monotonic() + PATIENCE
    while fake.counters().in_flight == 0:
        assert monotonic() < limit, "the run did not get to the embedding"
        sleep(0.05)


def test_ctrl_c_stops_the_run_and_the_same_command_finishes_it(
    environment: dict[str, str], database_url: str, slow_fake: FakeEmbeddingService, tmp_path: Path
) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\nHow do I pay?,By card.\nWhere are you?,In Berlin.\n", encoding="utf-8")
    command = [*HELIX, "import", str(path), "--json"]

    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_request(slow_fake)
    first.send_signal(signal.SIGINT)
    stdout, stderr = first.communicate(timeout=PATIENCE)
    assert first.returncode == 4
    assert json.loads(stdout)["status"] == "paused"
    assert stderr == "Stopping the run; the same command continues the import later.\n"
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT state FROM helix.import_batch").fetchall() == [("paused",)]

    slow_fake.set_faults(latency=0)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    report = json.loads(second.stdout)
    assert second.returncode == 0
    assert report["status"] == "done"
    assert (report["imports"][0]["inserted"], report["imports"][0]["embedded"]) == (2, 2)
    assert second.stderr == f"Resuming batch {report['batch']}, which these files began.\n"
