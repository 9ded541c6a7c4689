"""Retrying one call to an outside service: which errors, how long to wait, when to give up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

from helix_pipelines.resilience.errors import HelixError, LimitedError, TransientError

BACKOFF_BASE = 0.5
"""Seconds: the first wait is drawn from 0..0.5, the next from 0..1, and so on (full jitter: AWS Architecture Blog,
"Exponential Backoff and Jitter", 2015)."""
BACKOFF_CAP = 20.0
"""Seconds: no drawn wait is longer, so that a service that returned is not left alone for minutes."""
MAX_TRIES = 5
"""Tries that may fail for a transient reason; a service that fails five times in a row is the breaker's business."""
MAX_LIMITED = 20
"""Refusals for being too fast after which a call gives up although its deadline has not come."""

T = TypeVar("T")


def call_with_retry(
    call: Callable[[], T],
    *,
    deadline: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    on_retry: Callable[[HelixError, float], object] | None = None,
) -> T:
    """Return what `call` returns, repeating it after transient errors and after a service asked for patience.

    `deadline` is a moment on `clock`: no wait reaches beyond it. `on_retry(error, wait)` is told before each wait of
    `wait` seconds. A LimitedError is waited out for as long as the service says and is not one of the `MAX_TRIES`.

    Raises the last TransientError or LimitedError when tries or time are used up; every other error at once.
    """
    patience = _Patience(deadline, clock)

    def announce(state: tenacity.RetryCallState) -> None:
        if on_retry is not None and state.outcome is not None:
            error = state.outcome.exception()
            if isinstance(error, HelixError):
                on_retry(error, state.upcoming_sleep)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((TransientError, LimitedError)),
        wait=patience.wait,
        stop=patience.is_used_up,
        sleep=sleep,
        before_sleep=announce,
        reraise=True,
    )
    return retrying(call)


class _Patience:
    """The waits of one call, counted by kind."""

    def __init__(self, deadline: float, clock: Callable[[], float]) -> None:
        self._deadline = deadline
        self._clock = clock
        self._transient = 0
        self._limited = 0

    def wait(self, state: tenacity.RetryCallState) -> float:
        """Count the failure and return the seconds to wait; tenacity asks once a failure, before `is_used_up`."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, LimitedError):
            self._limited += 1
            return error.retry_after if error.retry_after is not None else full_jitter(self._limited)
        self._transient += 1
        return full_jitter(self._transient)

    def is_used_up(self, state: tenacity.RetryCallState) -> bool:
        if self._transient >= MAX_TRIES or self._limited >= MAX_LIMITED:
            return True
        return self._clock() + state.upcoming_sleep >= self._deadline


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
