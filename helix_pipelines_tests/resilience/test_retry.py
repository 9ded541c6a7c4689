from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate

import httpx
import pytest

from helix_pipelines.resilience.errors import GlobalError, HelixError, ItemError, LimitedError, TransientError
from helix_pipelines.resilience.retry import (
    BACKOFF_CAP,
    MAX_LIMITED,
    MAX_TRIES,
    RETRIES_AT_ONCE,
    RetryBudget,
    call_with_retry,
    full_jitter,
    retry_after,
)

NOW = 1_800_000_000.0


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


class Script:
    """A call that raises the given errors in turn, then returns "done"."""

    def __init__(self, *errors: HelixError) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


def run(call: Callable[[], str], time: Time, seconds: float = 1000, budget: RetryBudget | None = None) -> str:
    return call_with_retry(call, deadline=time.now + seconds, sleep=time.sleep, clock=time.clock, budget=budget)


def transient() -> TransientError:
    return TransientError("DOWN", "down")


def limited(seconds: float | None) -> LimitedError:
    return LimitedError("LIMITED", "slow down", seconds)


def test_a_transient_failure_is_repeated_after_a_wait() -> None:
    time, call = Time(), Script(transient(), transient())

    assert run(call, time) == "done"
    assert call.calls == 3
    assert len(time.sleeps) == 2


def test_a_lasting_failure_is_raised_after_five_tries() -> None:
    time, call = Time(), Script(*(transient() for _ in range(9)))

    with pytest.raises(TransientError):
        run(call, time)
    assert call.calls == MAX_TRIES


@pytest.mark.parametrize("error", [ItemError("ITEM", "bad"), GlobalError("GLOBAL", "stop")])
def test_what_repeating_cannot_mend_is_raised_at_once(error: HelixError) -> None:
    time, call = Time(), Script(error)

    with pytest.raises(type(error)):
        run(call, time)
    assert call.calls == 1
    assert time.sleeps == []


def test_a_service_that_asks_for_patience_is_asked_again_through_the_gate_and_that_is_no_try() -> None:
    time = Time()
    call = Script(*(limited(3) for _ in range(10)), *(transient() for _ in range(MAX_TRIES - 1)))

    assert run(call, time) == "done"
    assert time.sleeps[:10] == [0] * 10


def test_a_service_that_never_stops_limiting_is_given_up() -> None:
    time, call = Time(), Script(*(limited(0) for _ in range(99)))

    with pytest.raises(LimitedError):
        run(call, time)
    assert call.calls == MAX_LIMITED


def test_no_wait_reaches_beyond_the_deadline() -> None:
    time, call = Time(), Script(transient())

    with pytest.raises(TransientError):
        run(call, time, seconds=0)
    assert time.sleeps == []


def test_retries_of_a_process_are_a_tenth_of_its_requests_and_ten() -> None:
    time, budget = Time(), RetryBudget()
    tries = 0
    for _ in range(200):
        budget.record_request()
        call = Script(transient())
        with suppress(TransientError):
            run(call, time, budget=budget)
        tries += call.calls

    assert 200 + 20 <= tries <= 200 + 20 + RETRIES_AT_ONCE


def test_being_limited_costs_nothing_of_the_retry_budget() -> None:
    time, budget = Time(), RetryBudget()
    for _ in range(5):
        assert run(Script(*(limited(1) for _ in range(10))), time, budget=budget) == "done"
    assert budget.take()


def test_a_drawn_wait_never_exceeds_the_cap() -> None:
    assert max(full_jitter(failures) for failures in range(1, 40)) <= BACKOFF_CAP


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": " 0.25 "}, 0.25),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_every_form_of_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers), NOW) == seconds
