"""A service that many processes use: who needs it starts it or joins it, and the last one to leave stops it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from helix_pipelines.instance.home_files import lock, make_folder, open_lock
from helix_pipelines.resilience.errors import SetupError

AddressT_co = TypeVar("AddressT_co", covariant=True)

JOIN_TIMEOUT = 180.0
"""Seconds to wait for a leaver that is stopping the service; stopping PostgreSQL is bounded by less."""


class Service(Protocol[AddressT_co]):
    """What can be shared: both verbs may be called by several processes, at once and repeatedly."""

    def start(self) -> AddressT_co:
        """Start the service, or adopt the one that runs; gives where it is reached."""

    def stop(self) -> None:
        """Stop the service if it runs."""


class SharedService(Generic[AddressT_co]):
    """One process's part in a service.

    Every user holds the file `users_lock` shared; the kernel lets go of it when a process dies. Whoever leaves asks for
    it alone: got it means nobody is left, and a newcomer waits for the lock until the service has stopped. So a service
    is never stopped under a user, and never left running by the last one unless that one was killed; the next `join`
    adopts it then.
    """

    def __init__(self, service: Service[AddressT_co], users_lock: Path) -> None:
        self._service = service
        self._users_lock = users_lock
        self._descriptor: int | None = None

    @contextmanager
    def joined(self) -> Iterator[AddressT_co]:
        """Use the service for a block."""
        address = self.join()
        try:
            yield address
        finally:
            self.leave()

    def join(self) -> AddressT_co:
        """Become a user and start the service where it does not run.

        Raises SetupError: what the service's own start raises, or SERVICE_LOCKED while another process hangs in
        stopping it.
        """
        if self._descriptor is not None:
            raise RuntimeError("this user has joined already; make one SharedService for each")
        make_folder(self._users_lock.parent)
        descriptor = open_lock(self._users_lock)
        try:
            if not lock(descriptor, fcntl.LOCK_SH, timeout=JOIN_TIMEOUT):
                raise SetupError(
                    "SERVICE_LOCKED",
                    f"Another process has been stopping the service of {self._users_lock} for {JOIN_TIMEOUT:.0f} s. "
                    f"Find it with `fuser {self._users_lock}` and end it.",
                )
            address = self._service.start()
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return address

    def leave(self) -> bool:
        """Stop being a user; tells whether that stopped the service, as nobody else uses it."""
        if self._descriptor is None:
            return False
        descriptor, self._descriptor = self._descriptor, None
        return self._stop_if_alone(descriptor)

    def stop_if_unused(self) -> bool:
        """Stop what a crash of all its users left behind; tells whether nobody uses the service (any more)."""
        make_folder(self._users_lock.parent)
        return self._stop_if_alone(open_lock(self._users_lock))

    def _stop_if_alone(self, descriptor: int) -> bool:
        try:
            # A failed attempt at the exclusive lock has already dropped the shared one (flock(2)): of several who leave
            # at once, the one that asks last gets it.
            alone = lock(descriptor, fcntl.LOCK_EX, timeout=0)
            if alone:
                self._service.stop()
            return alone
        finally:
            os.close(descriptor)
