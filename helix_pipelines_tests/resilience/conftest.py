"""A clock for gates that stands still, one for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helix_pipelines_tests.resilience.held_clock import HeldClock, held_clock


@pytest.fixture(scope="module")
def clock(database_url: str) -> Iterator[HeldClock]:
    with held_clock(database_url) as clock:
        yield clock
