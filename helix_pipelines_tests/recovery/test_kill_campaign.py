"""A service of which parts are killed at random moments recovers by itself, with exactly what was dropped into its inbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from helix_pipelines.instance.child import offspring
from helix_pipelines_tests.fakes.accounting import Arrivals
from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery.dropped_files import DroppedFiles
from helix_pipelines_tests.recovery.import_progress import STARTING
from helix_pipelines_tests.recovery.kill_campaign import Blow, Campaign
from helix_pipelines_tests.recovery.kill_records import Kill, append, read, table, texts_in_flight, texts_unsaved
from helix_pipelines_tests.recovery.live_service import BEHAVIOUR, HELIX, LiveService, live_service
from helix_pipelines_tests.recovery.victims import RUN_PROCESS, Victim
from helix_pipelines_tests.waiting import until

ROUNDS = (
    (Blow(Victim.WORKER, "parsed_rows"), Blow(Victim.WORKER, "embeddings"), Blow(Victim.DATABASE, "embeddings")),
    (Blow(Victim.WORKER, "qa_pairs"), Blow(Victim.DAEMON, "embeddings"), Blow(Victim.SERVICE, STARTING)),
)
"""What CI kills: three of a round, one after the other."""
SEED = 1
KILLS = int(os.environ.get("HELIX_TEST_KILLS", "100"))
"""Of the campaign."""


@contextmanager
def service_in(folder: Path) -> Iterator[LiveService]:
    with running_fake_process(BEHAVIOUR) as fake, live_service(folder / "home", fake) as service:
        yield service


@pytest.mark.recovery
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_six_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    with service_in(tmp_path) as service:
        campaign = Campaign(service, SEED, DroppedFiles(SEED, least=600, most=1200))
        kills = [kill for at, blows in enumerate(ROUNDS) for kill in campaign.round(at * len(blows), blows)]
        sys.stdout.write(f"\n{table(kills)}\nrequests over the limit: {service.fake.counters().statuses.get(429, 0)}\n")
        assert_nothing_is_left(service)
    assert len(kills) == sum(map(len, ROUNDS))
    append(tmp_path / "kills.jsonl", kills)
    assert read(tmp_path / "kills.jsonl", SEED) == kills
    assert read(tmp_path / "kills.jsonl", SEED + 1) == []


@pytest.mark.campaign
def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """The way to run it for a certain seed, or to go on with one that was stopped, is the module's own command line."""
    results = tmp_path / "kills.jsonl"
    command = [sys.executable, "-m", "helix_pipelines_tests.recovery.kill_campaign", f"--kills={KILLS}"]
    subprocess.run([*command, f"--results={results}"], check=True)
    assert len(read(results, SEED)) == KILLS


def test_texts_on_their_way_are_told_by_when_they_were_sent_and_answered() -> None:
    arrivals = Arrivals(
        at=[1.0, 1.0, 1.0, 1.9, 2.1], ended=[1.2, 1.8, 2.5, None, 2.1], texts=[1, 2, 4, 8, 16], tokens=[0] * 5,
        status=[200, 200, 200, 0, 499],
    )  # fmt: skip
    assert texts_in_flight(arrivals, 2.0) == 4 + 8 + 16
    assert texts_unsaved(arrivals, 2.0) == 2


def test_a_table_tells_kills_by_their_victim() -> None:
    told = table([kill_of("worker", 10.0), kill_of("worker", 4.0), kill_of("daemon", 0.0)])
    assert [line.split()[:4] for line in told.splitlines()[1:4]] == [
        ["daemon", "1", "0.0", "0.0"],
        ["worker", "2", "10.0", "10.0"],
        ["all", "3", "4.0", "10.0"],
    ]


def kill_of(victim: str, resumed: float) -> Kill:
    return Kill(
        seed=SEED, number=0, victim=victim, phase="embeddings", resumed=resumed, since_kill=resumed, twice=0, in_flight=0,
        unsaved=0, load=1.0, drained=resumed,
    )  # fmt: skip


def assert_nothing_is_left(service: LiveService) -> None:
    """No run is shown as going on, no process of one lives, and `helix verify` finds nothing."""
    unfinished = "SELECT 1 FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
    until(lambda: not service.query(unfinished), 120, "runs are shown as going on")
    until(lambda: not _workers(service), 60, "processes of runs are left")
    verified = subprocess.run([HELIX, "verify"], env=service.environment, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _workers(service: LiveService) -> list[int]:
    """Processes of runs, wherever they hang."""
    return [
        mark.pid
        for mark in offspring(service.home.absolute())
        if psutil.pid_exists(mark.pid) and RUN_PROCESS in " ".join(psutil.Process(mark.pid).cmdline())
    ]
