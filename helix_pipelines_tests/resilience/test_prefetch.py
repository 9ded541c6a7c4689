"""Items taken ahead by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from helix_pipelines.resilience.prefetch import prefetched


def test_items_come_in_order_and_all_of_them() -> None:
    with prefetched(iter(range(100)), 3) as items:
        assert list(items) == list(range(100))


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with prefetched(broken(), 3) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="gone"):
            next(items)


def test_no_more_is_taken_than_was_asked_for_and_leaving_ends_the_thread() -> None:
    taken: list[int] = []

    def counted() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with prefetched(counted(), 2) as items:
        assert next(items) == 0
    assert len(taken) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
