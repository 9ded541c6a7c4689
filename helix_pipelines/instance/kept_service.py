"""A service that the supervisor uses itself and keeps running: database and local embedder."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from helix_pipelines.resilience.errors import SetupError

Address = TypeVar("Address")

LOOK_INTERVAL = 5.0
"""Seconds between two looks; each costs a connection."""


class KeptService(Generic[Address]):
    """Enters `join` (which starts or adopts the service) and enters it anew when the service no longer answers.

    The old membership ends after the new one has begun, so that the service never looks unused in between.
    """

    def __init__(
        self,
        name: str,
        join: Callable[[], AbstractContextManager[Address]],
        answers: Callable[[Address], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._join = join
        self._answers = answers
        self._clock = clock
        self._membership: AbstractContextManager[Address] | None = None
        self._looked_at = 0.0
        self.address: Address

    def start(self) -> Address:
        """Join the service and give where it is reached. Raises what joining raises."""
        membership = self._join()
        self.address = membership.__enter__()
        previous, self._membership = self._membership, membership
        self._looked_at = self._clock()
        if previous is not None:
            previous.__exit__(None, None, None)
        return self.address

    def keep_alive(self) -> str | None:
        """Look after the service every few seconds; tells in words what happened, None if nothing did."""
        if self._clock() - self._looked_at < LOOK_INTERVAL:
            return None
        self._looked_at = self._clock()
        if self._answers(self.address):
            return None
        try:
            self.start()
        except SetupError as error:
            return f"{self.name} does not answer and could not be started: {error}"
        return f"{self.name} did not answer and was started again."

    def stop(self) -> None:
        """Leave the service; it ends where nobody else uses it."""
        membership, self._membership = self._membership, None
        if membership is not None:
            membership.__exit__(None, None, None)
