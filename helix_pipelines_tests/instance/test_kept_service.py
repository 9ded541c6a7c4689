from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from helix_pipelines.instance.kept_service import LOOK_INTERVAL, KeptService
from helix_pipelines.resilience.errors import SetupError


class Server:
    """A service that counts its users and may die or refuse to start."""

    def __init__(self) -> None:
        self.users = 0
        self.fewest = 99
        self.starts = 0
        self.running = False
        self.refuses = False

    @contextmanager
    def joined(self) -> Iterator[str]:
        if self.refuses:
            raise SetupError("DISK_FULL", "make room")
        if not self.running:
            self.starts += 1
            self.running = True
        self.users += 1
        yield f"address {self.starts}"
        self.users -= 1
        self.fewest = min(self.fewest, self.users)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(server: Server, clock: Clock) -> KeptService[str]:
    return KeptService("The server", server.joined, lambda _: server.running, clock)


def test_a_service_that_answers_is_left_alone() -> None:
    server, clock = Server(), Clock()
    service = kept(server, clock)
    assert service.start() == "address 1"
    clock.now += LOOK_INTERVAL
    assert service.keep_alive() is None
    assert (server.starts, server.users) == (1, 1)


def test_a_dead_service_is_joined_anew_before_the_old_membership_ends() -> None:
    server, clock = Server(), Clock()
    service = kept(server, clock)
    service.start()
    server.running = False
    assert service.keep_alive() is None, "looks are seconds apart"
    clock.now += LOOK_INTERVAL
    assert service.keep_alive() == "The server did not answer and was started again."
    assert service.address == "address 2"
    assert server.fewest == 1, "never looked unused in between"
    service.stop()
    assert server.users == 0


def test_a_service_that_cannot_be_started_is_tried_again() -> None:
    server, clock = Server(), Clock()
    service = kept(server, clock)
    service.start()
    server.running, server.refuses = False, True
    clock.now += LOOK_INTERVAL
    assert service.keep_alive() == ("The server does not answer and could not be started: DISK_FULL: make room")
    server.refuses = False
    clock.now += LOOK_INTERVAL
    assert service.keep_alive() == "The server did not answer and was started again."


def test_stopping_twice_leaves_once() -> None:
    server = Server()
    service = kept(server, Clock())
    service.start()
    service.stop()
    service.stop()
    assert server.users == 0
