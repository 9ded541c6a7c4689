"""Taking the next items of an iterator while the last ones are worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

POLL_SECONDS = 0.1
"""Between looks at whether the consumer has left, while its queue is full."""


@contextmanager
def prefetched(items: Iterator[Item], depth: int) -> Iterator[Iterator[Item]]:
    """The same items, taken by a thread that is up to `depth` items ahead.

    An error of the iterator is raised where the consumer would have met it. When the block ends the thread has ended too,
    at the latest after the item that it is taking.
    """
    ahead: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    left = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> bool:
        while not left.is_set():
            try:
                ahead.put((item, error), timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def take() -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                if not put(item, None):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            end = error
        put(None, end)

    def given() -> Iterator[Item]:
        while True:
            item, error = ahead.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item without an error is one

    thread = threading.Thread(target=take, name="prefetch", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        left.set()
        thread.join()
