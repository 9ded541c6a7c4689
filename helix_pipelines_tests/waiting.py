"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK = 0.05
"""Seconds between two looks."""


def until(condition: Callable[[], object], timeout: float = 60.0, what: str = "waited in vain") -> None:
    """Wait until it is true. Raises AssertionError that says `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(LOOK)
