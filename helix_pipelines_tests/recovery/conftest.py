"""These tests are about several processes, and about what dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helix_pipelines_tests.recovery.gate_fleet import Fleet, fleet

PROCESSES = 4


@pytest.fixture(scope="session")
def workers() -> Iterator[Fleet]:
    """Processes that use gates."""
    with fleet(PROCESSES) as started:
        yield started
