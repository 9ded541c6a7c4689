from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines_tests.fakes.meters import SHORTEST_WAIT, FixedWindow, Meter, SlidingWindow, TokenBucket

Taken = list[tuple[float, int]]
STEPS = st.lists(st.tuples(st.integers(0, 64), st.integers(1, 12)))
"""Waits in sixty-fourths of a second, which add up without rounding, and costs."""
LIMIT = 10
PERIOD = 0.5


def admitted(meter: Meter, steps: list[tuple[int, int]]) -> Taken:
    """What the meter lets through of such a sequence."""
    times = [tick / 64 for tick in accumulate(wait for wait, _ in steps)]
    taken = []
    for now, (_, cost) in zip(times, steps, strict=True):
        if meter.wait(now, cost) == 0:
            meter.take(now, cost)
            taken.append((now, cost))
    return taken


@given(STEPS)
def test_a_sliding_window_admits_exactly_what_fits_in_every_window(steps: list[tuple[int, int]]) -> None:
    meter = SlidingWindow(LIMIT, PERIOD)
    taken: Taken = []
    now = 0.0
    for wait, cost in steps:
        now += wait / 64
        used = sum(spent for at, spent in taken if now - at < PERIOD)
        assert (meter.wait(now, cost) == 0) == (used + cost <= LIMIT)
        assert meter.remaining(now) == LIMIT - used
        if used + cost <= LIMIT:
            meter.take(now, cost)
            taken.append((now, cost))


@given(STEPS)
def test_a_fixed_window_admits_its_limit_in_each_period_of_the_clock(steps: list[tuple[int, int]]) -> None:
    taken = admitted(FixedWindow(LIMIT, PERIOD), steps)

    for window in {at // PERIOD for at, _ in taken}:
        assert sum(cost for at, cost in taken if at // PERIOD == window) <= LIMIT


@given(STEPS, st.integers(1, 20))
def test_a_bucket_admits_its_burst_and_then_the_rate(steps: list[tuple[int, int]], burst: int) -> None:
    taken = admitted(TokenBucket(LIMIT, PERIOD, burst), steps)

    for place, (since, _) in enumerate(taken):
        for until, spent in zip((at for at, _ in taken[place:]), accumulate(c for _, c in taken[place:]), strict=True):
            assert spent <= burst + LIMIT / PERIOD * (until - since) + 1e-6


@given(STEPS, st.sampled_from([SlidingWindow, FixedWindow, TokenBucket]))
def test_who_waits_as_long_as_told_is_admitted(
    steps: list[tuple[int, int]], kind: type[SlidingWindow | FixedWindow | TokenBucket]
) -> None:
    meter = kind(LIMIT, PERIOD)
    taken = admitted(meter, steps)
    now = taken[-1][0] if taken else 0.0

    wait = meter.wait(now, LIMIT)
    assert 0 <= wait <= PERIOD
    assert meter.wait(now + wait + SHORTEST_WAIT, LIMIT) == 0


@given(STEPS, st.sampled_from([SlidingWindow, FixedWindow, TokenBucket]))
def test_after_its_reset_nothing_is_in_use(
    steps: list[tuple[int, int]], kind: type[SlidingWindow | FixedWindow | TokenBucket]
) -> None:
    meter = kind(LIMIT, PERIOD)
    taken = admitted(meter, steps)
    now = taken[-1][0] if taken else 0.0

    assert meter.remaining(now + meter.reset(now) + SHORTEST_WAIT) == LIMIT


def test_what_is_more_than_the_limit_never_fits() -> None:
    for meter in (SlidingWindow(LIMIT, PERIOD), FixedWindow(LIMIT, PERIOD), TokenBucket(LIMIT, PERIOD)):
        assert all(meter.wait(now, LIMIT + 1) > 0 for now in (0.0, 10.0))
