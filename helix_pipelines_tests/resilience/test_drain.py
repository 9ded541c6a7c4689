"""The engine for work that calls out, with calls that fail in every way they can."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.resilience.drain import FAILURES_TO_STOP, Outcome, drain
from helix_pipelines.resilience.errors import GlobalError, ItemError, TransientError

Stored = list[Outcome[int, list[int]]]


def run(batches: Sequence[Sequence[int]], call: object, concurrency: int = 3, batch_timeout: float = 5.0) -> Stored:
    stored: Stored = []
    drain(
        iter(batches),
        call,  # type: ignore[arg-type]
        stored.extend,
        concurrency=concurrency,
        batch_timeout=batch_timeout,
    )
    return stored


def results(stored: Stored) -> list[int]:
    return sorted(value for outcome in stored for value in outcome.result or [])


def refused(stored: Stored) -> list[int]:
    return sorted(item for outcome in stored if outcome.error for item in outcome.items)


def double(items: Sequence[int], _deadline: float) -> list[int]:
    return [2 * item for item in items]


def test_every_batch_is_called_and_stored() -> None:
    stored = run([range(start, start + 10) for start in range(0, 100, 10)], double)
    assert results(stored) == [2 * item for item in range(100)]


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    in_flight, peak, lock = 0, 0, threading.Lock()

    def call(items: Sequence[int], deadline: float) -> list[int]:
        nonlocal in_flight, peak
        with lock:
            in_flight += 1
            peak = max(peak, in_flight)
        threading.Event().wait(0.01)
        with lock:
            in_flight -= 1
        return double(items, deadline)

    run([[item] for item in range(40)], call, concurrency=4)
    assert peak == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=12))
def test_poison_is_isolated_at_a_bounded_price(size: int, marked: set[int]) -> None:
    poison = {item for item in marked if item < size}
    calls = 0

    def call(items: Sequence[int], deadline: float) -> list[int]:
        nonlocal calls
        calls += 1
        if poison.intersection(items):
            raise ItemError("POISON", "one of these")
        return double(items, deadline)

    stored = run([list(range(size))], call, concurrency=1)
    assert refused(stored) == sorted(poison)
    assert results(stored) == [2 * item for item in range(size) if item not in poison]
    assert calls <= 2 * len(poison) * (size - 1).bit_length() + 1


def test_a_transient_failure_is_repeated_and_never_bisected() -> None:
    sizes: list[int] = []

    def call(items: Sequence[int], deadline: float) -> list[int]:
        sizes.append(len(items))
        if len(sizes) == 1:
            raise TransientError("HICCUP", "again")
        return double(items, deadline)

    assert len(results(run([list(range(8))], call, concurrency=1))) == 8
    assert sizes == [8, 8]


def test_a_global_error_stops_at_once_and_what_arrived_is_stored() -> None:
    stored: Stored = []
    calls = 0

    def call(items: Sequence[int], deadline: float) -> list[int]:
        nonlocal calls
        calls += 1
        if items[0] >= 3:
            raise GlobalError("KEY_REFUSED", "set another key")
        return double(items, deadline)

    with pytest.raises(GlobalError):
        drain(
            iter([[item] for item in range(1000)]),
            call,
            stored.extend,
            concurrency=1,
            batch_timeout=5,
        )
    assert results(stored) == [0, 2, 4]
    assert calls < 10


def test_a_dead_service_is_given_up_and_its_items_are_stored_neither_as_done_nor_as_failed() -> None:
    stored: Stored = []
    calls = 0

    def call(_items: Sequence[int], _deadline: float) -> list[int]:
        nonlocal calls
        calls += 1
        raise TransientError("REFUSED", "nobody listens")

    with pytest.raises(TransientError):
        drain(
            iter([[item] for item in range(1000)]),
            call,
            stored.extend,
            concurrency=2,
            batch_timeout=0.05,
        )
    assert stored == []
    assert calls < 10 * FAILURES_TO_STOP


def test_an_error_of_the_store_ends_the_drain() -> None:
    def store(_outcomes: Sequence[Outcome[int, list[int]]]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        drain(iter([[1], [2]]), double, store, concurrency=2, batch_timeout=5)
