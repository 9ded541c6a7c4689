"""An hour of drops and faults: nothing piles up, neither in the queue nor in memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery.live_service import BEHAVIOUR, live_service
from helix_pipelines_tests.recovery.soak import report, slope, soak

SECONDS = float(os.environ.get("HELIX_TEST_SOAK_SECONDS", "3600"))
LEVEL = 5.0
"""Megabytes an hour that still count as level: caches that fill, of processes of some 160 MB."""


@pytest.mark.campaign
def test_memory_stays_level_while_files_keep_coming(tmp_path: Path) -> None:
    with running_fake_process(BEHAVIOUR) as fake, live_service(tmp_path / "home", fake) as service:
        memory = soak(service, SECONDS)
    sys.stdout.write(f"\n{report(memory)}\n")
    rising = {name: rate for name, rate in memory.slopes().items() if rate > LEVEL}
    assert not rising or SECONDS < 3600, rising


def test_a_slope_is_that_of_the_second_half() -> None:
    level = [(float(at), 100.0) for at in range(0, 3600, 60)]
    rising = [(at, megabytes + max(0.0, at - 1800) / 3600 * 7) for at, megabytes in level]
    assert slope(level) == pytest.approx(0.0, abs=1e-6)
    assert slope(rising) == pytest.approx(7.0, rel=0.05)
