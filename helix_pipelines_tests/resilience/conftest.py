"""Gates of which nothing is left when a test ends, and a clock for gates that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines_tests.resilience.held_clock import HeldClock, held_clock
from helix_pipelines_tests.resilience.live_gate import LiveGate, Service

MakeGate = Callable[[GateLimits], LiveGate]


@pytest.fixture(scope="module")
def clock(database_url: str) -> Iterator[HeldClock]:
    """For all gates of the module."""
    with held_clock(database_url) as clock:
        yield clock


@pytest.fixture
def make_gate(database_url: str) -> Iterator[MakeGate]:
    """Makes gates on the database's own clock."""
    with ExitStack() as closed:

        def make(limits: GateLimits) -> LiveGate:
            gate = LiveGate(database_url, limits)
            closed.callback(gate.close)
            return gate

        yield make


@pytest.fixture
def gate(make_gate: MakeGate) -> LiveGate:
    """One without limits but the usual five places."""
    return make_gate(GateLimits())


@pytest.fixture
def service() -> Service:
    """A service that answers everything until it is told otherwise."""
    return Service()
