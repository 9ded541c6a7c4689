"""The engine for work that calls out, with calls that fail in every way they can."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.resilience.drain import LOOK_SECONDS, Outcome, drain
from helix_pipelines.resilience.errors import (
    GlobalError,
    HelixError,
    ItemError,
    LimitedError,
    TimedOutError,
    TooLargeError,
    TransientError,
    UnavailableError,
)
from helix_pipelines.resilience.gated_calls import StoppedError


@dataclass
class Doubled:
    values: list[int]
    seconds: float = 0.25


class NotedSizes:
    """A sizer that notes what it is told."""

    def __init__(self) -> None:
        self.successes: list[float] = []
        self.too_large: list[int] = []
        self.timed_out = 0

    def record_success(self, seconds: float) -> None:
        self.successes.append(seconds)

    def record_too_large(self, items: int) -> None:
        self.too_large.append(items)

    def record_timed_out(self) -> None:
        self.timed_out += 1


Stored = list[Outcome[int, Doubled]]
Call = Callable[[Sequence[int]], Doubled]


def run(
    batches: Sequence[Sequence[int]],
    call: Call,
    concurrency: int = 3,
    *,
    stored: Stored | None = None,
    sizer: NotedSizes | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Stored:
    stored = [] if stored is None else stored
    drain(iter(batches), call, stored.extend, concurrency=concurrency, sizer=sizer or NotedSizes(), stop=stop)
    return stored


def results(stored: Stored) -> list[int]:
    return sorted(value for outcome in stored if outcome.result for value in outcome.result.values)


def refused(stored: Stored) -> list[int]:
    return sorted(item for outcome in stored if outcome.error for item in outcome.items)


def double(items: Sequence[int]) -> Doubled:
    return Doubled([2 * item for item in items])


def test_every_batch_is_called_and_stored() -> None:
    stored = run([range(start, start + 10) for start in range(0, 100, 10)], double)
    assert results(stored) == [2 * item for item in range(100)]


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    in_flight, peak, lock = 0, 0, threading.Lock()

    def call(items: Sequence[int]) -> Doubled:
        nonlocal in_flight, peak
        with lock:
            in_flight += 1
            peak = max(peak, in_flight)
        threading.Event().wait(0.01)
        with lock:
            in_flight -= 1
        return double(items)

    run([[item] for item in range(40)], call, concurrency=4)
    assert peak == 4


def test_a_service_that_takes_its_time_is_waited_for() -> None:
    def call(items: Sequence[int]) -> Doubled:
        threading.Event().wait(1.5 * LOOK_SECONDS)
        return double(items)

    assert results(run([[1], [2], [3]], call, concurrency=2)) == [2, 4, 6]


def test_no_more_is_sent_than_can_be_lost_before_it_is_stored() -> None:
    sent, lock = 0, threading.Lock()
    unsaved: list[int] = []
    stored = 0

    def call(items: Sequence[int]) -> Doubled:
        nonlocal sent
        with lock:
            sent += 1
            unsaved.append(sent - stored)
        return double(items)

    def store(outcomes: Sequence[Outcome[int, Doubled]]) -> None:
        nonlocal stored
        threading.Event().wait(0.01)
        with lock:
            stored += len(outcomes)

    drain(iter([[item] for item in range(60)]), call, store, concurrency=4, sizer=NotedSizes(), stop=lambda: None)
    assert stored == sent == 60
    assert max(unsaved) == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=12), st.integers(1, 4))
def test_poison_is_isolated_at_a_bounded_price(size: int, marked: set[int], concurrency: int) -> None:
    poison = {item for item in marked if item < size}
    calls, lock = 0, threading.Lock()

    def call(items: Sequence[int]) -> Doubled:
        nonlocal calls
        with lock:
            calls += 1
        if poison.intersection(items):
            raise ItemError("POISON", "one of these")
        return double(items)

    stored = run([list(range(size))], call, concurrency=concurrency)
    assert refused(stored) == sorted(poison)
    assert all(len(outcome.items) == 1 for outcome in stored if outcome.error)
    assert results(stored) == [2 * item for item in range(size) if item not in poison]
    assert calls <= 2 * len(poison) * (size - 1).bit_length() + 1


@pytest.mark.parametrize(
    "error", [TransientError("DOWN", "down"), LimitedError("FAST", "too fast"), TimedOutError("SLOW", "slow")]
)
def test_a_passing_failure_is_of_the_batch_and_never_splits_it(error: HelixError) -> None:
    def call(items: Sequence[int]) -> Doubled:
        if 3 in items:
            raise error
        return double(items)

    stored = run([[1, 2], [3, 4, 5], [6]], call, concurrency=1)
    assert [list(outcome.items) for outcome in stored if outcome.error] == [[3, 4, 5]]
    assert results(stored) == [2, 4, 12]


def test_the_sizer_hears_of_successes_of_refused_sizes_and_of_deadlines() -> None:
    def call(items: Sequence[int]) -> Doubled:
        if len(items) > 2:
            raise TooLargeError("TOO_LARGE", "halve it")
        if 9 in items:
            raise TimedOutError("SLOW", "slow")
        return double(items)

    sizer = NotedSizes()
    stored = run([[1, 2, 3, 4], [9]], call, sizer=sizer)
    assert results(stored) == [2, 4, 6, 8]
    assert sizer.successes == [0.25, 0.25]
    assert (sizer.too_large, sizer.timed_out) == ([4], 1)


@pytest.mark.parametrize(
    "error", [GlobalError("KEY_REFUSED", "set another key"), UnavailableError("SERVICE_DOWN", "away", 5.0)]
)
def test_what_concerns_all_work_stops_at_once_and_what_arrived_is_stored(error: HelixError) -> None:
    stored: Stored = []
    calls, stopped = 0, threading.Event()

    def call(items: Sequence[int]) -> Doubled:
        nonlocal calls
        if stopped.is_set():
            raise StoppedError
        calls += 1
        if items[0] >= 3:
            raise error
        return double(items)

    with pytest.raises(type(error), match=error.code):
        run([[item] for item in range(1000)], call, concurrency=1, stored=stored, stop=stopped.set)
    assert results(stored) == [0, 2, 4]
    assert refused(stored) == []
    assert stopped.is_set()
    assert calls < 10


def test_an_error_of_the_store_ends_the_drain_and_every_wait() -> None:
    stopped = threading.Event()

    def store(_outcomes: Sequence[Outcome[int, Doubled]]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        drain(iter([[1], [2]]), double, store, concurrency=2, sizer=NotedSizes(), stop=stopped.set)
    assert stopped.is_set()


def test_an_error_that_is_no_failure_of_the_service_is_raised() -> None:
    def call(_items: Sequence[int]) -> Doubled:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([[1]], call)
