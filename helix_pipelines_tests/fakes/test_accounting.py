from __future__ import annotations

import threading
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines_tests.fakes.accounting import Arrivals, Slice, in_flight_peak, sliding_window_peak, time_slices
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.fakes.plain_client import ask

MOMENTS = st.lists(st.tuples(st.integers(0, 640).map(lambda tick: tick / 64), st.integers(0, 100)))
"""Times and tokens; sixty-fourths of a second are added and compared without rounding."""
PERIODS = st.integers(1, 640).map(lambda tick: tick / 64)


def arrivals_of(moments: list[tuple[float, int]], status: int = 200, lasting: float = 0.0) -> Arrivals:
    at, tokens = [at for at, _ in moments], [tokens for _, tokens in moments]
    return Arrivals(at, [moment + lasting for moment in at], [1] * len(at), tokens, [status] * len(at))


@given(MOMENTS, PERIODS)
def test_the_peak_is_that_of_the_fullest_window_beginning_at_an_arrival(
    moments: list[tuple[float, int]], period: float
) -> None:
    windows = [[cost for at, cost in moments if start <= at < start + period] for start, _ in moments]

    expected = max(map(len, windows), default=0), max(map(sum, windows), default=0)
    assert sliding_window_peak(arrivals_of(moments), period) == expected


@given(MOMENTS, PERIODS, st.integers(0, 640).map(lambda tick: tick / 64))
def test_no_window_anywhere_is_above_the_peak(moments: list[tuple[float, int]], period: float, start: float) -> None:
    inside = [cost for at, cost in moments if start <= at < start + period]
    requests, tokens = sliding_window_peak(arrivals_of(moments), period)

    assert len(inside) <= requests
    assert sum(inside) <= tokens


@given(MOMENTS, PERIODS)
def test_the_peak_does_not_depend_on_the_order_and_never_falls_with_the_period(
    moments: list[tuple[float, int]], period: float
) -> None:
    peak = sliding_window_peak(arrivals_of(moments), period)

    assert sliding_window_peak(arrivals_of(moments[::-1]), period) == peak
    longer = sliding_window_peak(arrivals_of(moments), period * 2)
    assert longer[0] >= peak[0]
    assert longer[1] >= peak[1]


def test_an_arrival_one_period_later_is_in_the_next_window() -> None:
    assert sliding_window_peak(arrivals_of([(0.0, 3), (1.0, 4)]), 1.0) == (1, 4)
    assert sliding_window_peak(arrivals_of([(0.0, 3), (1.0, 4)]), 1.001) == (2, 7)
    assert sliding_window_peak(arrivals_of([]), 1.0) == (0, 0)


def test_requests_are_in_flight_from_arrival_to_end() -> None:
    assert in_flight_peak(arrivals_of([(0.0, 1), (1.0, 1), (1.5, 1), (2.5, 1)], lasting=1.0)) == 2
    assert in_flight_peak(arrivals_of([])) == 0


def test_slices_of_time_add_up_and_show_the_gaps() -> None:
    good, limited = arrivals_of([(5.0, 3), (5.9, 4)]), arrivals_of([(8.0, 9)], status=429)
    log = Arrivals(*(getattr(good, name) + getattr(limited, name) for name in Arrivals.__struct_fields__))

    assert time_slices(log, 1.0) == [
        Slice(0.0, requests=2, answered=2, answered_tokens=7),
        Slice(1.0),
        Slice(2.0),
        Slice(3.0, requests=1, limited=1),
    ]
    assert time_slices(arrivals_of([]), 1.0) == []


def test_the_log_has_every_request_with_its_times_and_status(fake: FakeEmbeddingService) -> None:
    before = time.monotonic()
    ask(fake, ["abcd", "e"])
    ask(fake, [""])
    log = fake.arrivals()

    assert (log.texts, log.tokens, log.status) == ([2, 1], [3, 0], [200, 400])
    assert before < log.at[0] < log.at[1] < time.monotonic(), "one clock for all processes of a host"
    assert all(ended is not None and at <= ended for at, ended in zip(log.at, log.ended, strict=True))
    assert len(log.with_status(400)) == 1
    assert log.between(log.at[1], log.at[1] + 1).status == [400]
    assert sum(book.requests for book in fake.slices(0.001)) == 2


def test_a_request_in_flight_has_not_ended_and_one_whose_client_left_has(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=30)
    leaving = threading.Thread(target=pytest.raises, args=(httpx.ReadTimeout, ask, fake, ["a"], 0.5))
    leaving.start()
    while not fake.counters().in_flight:
        time.sleep(0.01)
    log = fake.arrivals()
    assert (log.ended, log.status) == ([None], [0])
    leaving.join()
    while fake.counters().in_flight:
        time.sleep(0.01)

    assert fake.arrivals().status == [499]
    counters = fake.counters()
    assert counters.statuses == {499: 1}
    assert (counters.answered, counters.texts) == (1, 1), "the work was done and is paid for"


def test_reset_clears_the_log_and_what_the_limits_remember(fake: FakeEmbeddingService) -> None:
    for _ in range(2):
        fake.set_faults(rpm=1)
        assert ask(fake, ["a"]).status_code == 200
        assert ask(fake, ["a"]).status_code == 429
        assert fake.arrivals().status == [200, 429]
        fake.reset()

    assert len(fake.arrivals()) == 0
