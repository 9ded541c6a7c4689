"""Whatever callers do, no window of time sees more than the limits; and hungry callers get all of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helix_pipelines.resilience.gate import Kind
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines_tests.fakes.accounting import Arrivals, in_flight_peak, sliding_window_peak
from helix_pipelines_tests.resilience.gate_traffic import Caller, Draw, Traffic
from helix_pipelines_tests.resilience.held_clock import HeldClock, HeldGate

EVENTS = 150
"""Questions and answers of a simulation; enough for some windows, and 0.1 s."""
ATTAINABLE = 0.97
"""Share of what the algorithm can grant at most that hungry callers get at least."""


@dataclass(frozen=True)
class Load:
    """Limits a window, and who asks."""

    period: float
    requests: int | None
    tokens: int | None
    concurrency: int
    bulk: int
    searches: int
    largest: float
    seed: int

    @property
    def limits(self) -> GateLimits:
        minutes = self.period / 60
        return GateLimits(
            requests_per_minute=None if self.requests is None else self.requests / minutes,
            tokens_per_minute=None if self.tokens is None else self.tokens / minutes,
            max_concurrency=self.concurrency,
            period_seconds=self.period,
        )

    def callers(self, factor: Draw = lambda _: 1.0) -> list[Caller]:
        """Each with habits of its own."""
        draw = random.Random(self.seed)
        budget = self.tokens or 1000

        def caller(kind: Kind) -> Caller:
            share = self.largest * draw.choice((1.0, 0.3, 0.05)) if kind is Kind.BULK else 0.002
            slow = self.period * draw.choice((0.0, 0.1, 1.5))
            idle = self.period * draw.choice((0.0, 0.0, 0.3, 2.0))
            equal = draw.random() < 0.3
            return Caller(
                kind,
                estimate=lambda r: share * budget * (1.0 if equal else r.random()),
                latency=lambda r: r.uniform(0, slow),
                pause=lambda r: r.uniform(0, idle),
                factor=factor,
                max_wait=1e9 if kind is Kind.BULK else 0.5,
                arrives=draw.uniform(0, self.period) if draw.random() < 0.5 else 0.0,
            )

        return [caller(Kind.BULK) for _ in range(self.bulk)] + [caller(Kind.INTERACTIVE) for _ in range(self.searches)]


@st.composite
def loads(draw: st.DrawFn) -> Load:
    requests = draw(st.none() | st.integers(1, 12) | st.integers(13, 60))
    tokens = draw(st.integers(200, 100_000) if requests is None else st.none() | st.integers(200, 100_000))
    return Load(
        period=draw(st.sampled_from([0.7, 2.0, 10.0, 60.0, 120.0, 900.0])),
        requests=requests,
        tokens=tokens,
        concurrency=draw(st.integers(1, 40)),
        bulk=draw(st.integers(0, 20)),
        searches=draw(st.integers(0, 4)),
        largest=draw(st.sampled_from([0.01, 0.1, 0.5, 0.9])),
        seed=draw(st.integers(0, 1 << 32)),
    )


def assert_within(load: Load, seen: Arrivals) -> None:
    requests, tokens = sliding_window_peak(seen, load.period)
    assert requests <= (load.requests or math.inf)
    assert tokens <= (load.tokens or math.inf)


@settings(max_examples=40, deadline=None)
@example(Load(2.0, None, 200, concurrency=3, bulk=3, searches=0, largest=0.9, seed=0))
@given(load=loads())
def test_no_window_sees_more_than_the_limits(clock: HeldClock, load: Load) -> None:
    traffic = Traffic(HeldGate.of(clock, load.limits), load.seed)
    traffic.run(load.callers(), EVENTS)
    assert_within(load, traffic.starts)
    assert_within(load, traffic.arrivals)
    assert in_flight_peak(traffic.starts) <= load.concurrency


def grants_per_second(clock: HeldClock, limits: GateLimits, tokens: int = 1) -> float:
    """What callers that never rest get."""
    hungry = Caller(Kind.BULK, lambda _: tokens, lambda r: r.uniform(0, limits.period_seconds / 10), lambda _: 0.0)
    traffic = Traffic(HeldGate.of(clock, limits), seed=1)
    traffic.run([hungry] * limits.max_concurrency, 400)
    return (len(traffic.starts) - 1) / (max(traffic.starts.at) - min(traffic.starts.at))


@pytest.mark.parametrize(("requests", "period"), [(2, 60), (10, 2), (60, 60), (300, 60)])
def test_hungry_callers_get_all_requests(clock: HeldClock, requests: int, period: float) -> None:
    limits = GateLimits(requests_per_minute=requests * 60 / period, period_seconds=period, max_concurrency=30)
    assert grants_per_second(clock, limits) >= ATTAINABLE * (requests - 1) / (period + 0.8)


@pytest.mark.parametrize(("batch", "period"), [(50, 60), (500, 60), (100, 2), (2000, 20)])
def test_hungry_callers_get_all_tokens(clock: HeldClock, batch: int, period: float) -> None:
    budget = 10_000
    limits = GateLimits(tokens_per_minute=budget * 60 / period, period_seconds=period, max_concurrency=30)
    per_second = batch * grants_per_second(clock, limits, batch)
    assert per_second >= ATTAINABLE * (budget * (1 - 1 / 400) - batch) / (period + 0.8)


def test_hungry_callers_get_all_where_both_limits_bind(clock: HeldClock) -> None:
    limits = GateLimits(requests_per_minute=100, tokens_per_minute=10_000, max_concurrency=30)
    assert grants_per_second(clock, limits, 99) * 60 >= 95


@settings(max_examples=15, deadline=None)
@given(load=loads())
def test_estimates_that_are_too_high_move_no_more_than_a_quarter_of_what_is_under_way(
    clock: HeldClock, load: Load
) -> None:
    traffic = Traffic(HeldGate.of(clock, load.limits), load.seed)
    traffic.run(load.callers(factor=lambda r: r.uniform(0.4, 1.0)), EVENTS)
    requests, tokens = sliding_window_peak(traffic.starts, load.period)
    assert requests <= (load.requests or math.inf)
    if load.tokens is not None:
        largest = max(1, load.largest * load.tokens)
        assert tokens <= load.tokens + load.concurrency * largest / 4


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_estimates_that_are_always_wrong_are_soon_right(clock: HeldClock, factor: float) -> None:
    limits = GateLimits(tokens_per_minute=10_000, max_concurrency=20)
    hungry = Caller(Kind.BULK, lambda _: 100, lambda r: r.uniform(0, 1), lambda _: 0.0, factor=lambda _: factor)
    traffic = Traffic(HeldGate.of(clock, limits), seed=1)
    traffic.run([hungry] * 20, 800)
    first, last = min(traffic.starts.at), max(traffic.starts.at)
    later = traffic.starts.between((first + last) / 2, last)
    assert sliding_window_peak(later, 60)[1] <= 10_000
    attainable = (10_000 * (1 - 1 / 400) - 100 * factor) / 60.8
    assert sum(later.tokens) / (last - first) * 2 >= ATTAINABLE * attainable
