"""Retrying one call to an outside service: which errors, how long to wait, when to give up."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

from helix_pipelines.resilience.errors import LimitedError, TransientError

BACKOFF_BASE = 0.5
"""Seconds: the first wait is drawn from 0..0.5, the next from 0..1, and so on (full jitter: AWS Architecture Blog,
"Exponential Backoff and Jitter", 2015)."""
BACKOFF_CAP = 20.0
"""Seconds: no drawn wait is longer, so that a service that returned is not left alone for minutes."""
MAX_TRIES = 5
"""Tries that may fail for a transient reason; a service that fails five times in a row is the breaker's business."""
MAX_LIMITED = 20
"""Refusals for being too fast after which a call gives up although its deadline has not come."""
RETRY_SHARE = 0.1
"""Retries that a process may add to its requests, or a service that fails half of them gets twice as many
(Google, "Site Reliability Engineering", chapter 21)."""
RETRIES_AT_ONCE = 10
"""Retries that are free of that share, so that a short run may have some."""

T = TypeVar("T")


class RetryBudget:
    """How many retries a process may still make, for all its threads."""

    def __init__(self) -> None:
        self._left = float(RETRIES_AT_ONCE)
        self._turn = threading.Lock()

    def record_request(self) -> None:
        """A first try earns its share of a retry."""
        with self._turn:
            self._left = min(self._left + RETRY_SHARE, float(RETRIES_AT_ONCE))

    def take(self) -> bool:
        """Use up one retry; False where none is left."""
        with self._turn:
            if self._left < 1:
                return False
            self._left -= 1
            return True


def call_with_retry(
    call: Callable[[], T],
    *,
    deadline: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    budget: RetryBudget | None = None,
) -> T:
    """Return what `call` returns, repeating it after transient errors and after a service asked for patience.

    `deadline` is a moment on `clock`: no wait reaches beyond it. A LimitedError is no fault and not one of the `MAX_TRIES`: it is
    repeated at once, as the gate makes everybody wait for as long as the service says. Each other retry has to be paid for from
    `budget`, where there is one.

    Raises the last TransientError or LimitedError when tries, time or budget are used up; every other error at once.
    """
    patience = _Patience(deadline, clock, budget)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((TransientError, LimitedError)),
        wait=patience.wait,
        stop=patience.is_used_up,
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)


class _Patience:
    """The waits of one call, counted by kind."""

    def __init__(self, deadline: float, clock: Callable[[], float], budget: RetryBudget | None) -> None:
        self._deadline = deadline
        self._clock = clock
        self._budget = budget
        self._transient = 0
        self._limited = 0

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Count the failure and return the seconds to wait; tenacity asks once a failure, before `is_used_up`."""
        if state.outcome is not None and isinstance(state.outcome.exception(), LimitedError):
            self._limited += 1
            return 0.0
        self._transient += 1
        return full_jitter(self._transient)

    def is_used_up(self, state: tenacity.RetryCallState) -> bool:
        if self._transient >= MAX_TRIES or self._limited >= MAX_LIMITED:
            return True
        if self._clock() + state.upcoming_sleep >= self._deadline:
            return True
        is_fault = state.outcome is not None and isinstance(state.outcome.exception(), TransientError)
        return is_fault and self._budget is not None and not self._budget.take()


def full_jitter(failures: int) -> float:
    """Seconds to wait after the `failures`-th failure in a row (from 1): anything between 0 and the doubled bound."""
    return random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (failures - 1)))  # noqa: S311 - not a secret


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds for which a service asks to be left alone, or None where it does not say so in a form that is understood.

    Reads `retry-after-ms` (milliseconds, more exact where it is given) and `retry-after` (seconds, also fractions, or
    an HTTP date; RFC 9110, section 10.2.3). `headers` finds its keys whatever their case; `now` is Unix time. Never
    negative.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return max(0.0, seconds)
    if text is None:
        return None
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
