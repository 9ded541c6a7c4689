"""What is used of one limit, for each kind of limit.

The kinds differ in what they let through: a sliding window admits its limit in any period, a fixed one up to twice of it
around its boundary, a bucket its burst and then the rate.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

SHORTEST_WAIT = 0.001
"""Seconds: below this a difference of clock readings is rounding, and the forms of the headers end at milliseconds."""


class Meter(Protocol):
    """What is used of one limit. Times are readings of the monotonic clock, which never go back."""

    limit: int

    def wait(self, now: float, cost: int) -> float:
        """Seconds until that would be admitted, 0 for now; a whole period if it never will be."""

    def take(self, now: float, cost: int) -> None:
        """Use it."""

    def remaining(self, now: float) -> int:
        """What would be admitted now."""

    def reset(self, now: float) -> float:
        """Seconds until nothing is in use."""


class SlidingWindow:
    """At most `limit` in any half-open window of one period."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self._period = period
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0

    def wait(self, now: float, cost: int) -> float:
        self._forget(now)
        over = self._used + cost - self.limit
        if over <= 0:
            return 0.0
        for at, taken in self._taken:
            over -= taken
            if over <= 0:
                return max(at + self._period - now, SHORTEST_WAIT)
        return self._period

    def take(self, now: float, cost: int) -> None:
        self._taken.append((now, cost))
        self._used += cost

    def remaining(self, now: float) -> int:
        self._forget(now)
        return max(self.limit - self._used, 0)

    def reset(self, now: float) -> float:
        return max(self._taken[-1][0] + self._period - now, 0.0) if self._taken else 0.0

    def _forget(self, now: float) -> None:
        taken = self._taken
        while taken and now - taken[0][0] >= self._period:
            self._used -= taken.popleft()[1]


class FixedWindow:
    """At most `limit` in each period of the clock."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self._period = period
        self._window = 0
        self._used = 0

    def wait(self, now: float, cost: int) -> float:
        self._turn(now)
        return 0.0 if self._used + cost <= self.limit else self._left(now)

    def take(self, now: float, cost: int) -> None:
        self._turn(now)
        self._used += cost

    def remaining(self, now: float) -> int:
        self._turn(now)
        return max(self.limit - self._used, 0)

    def reset(self, now: float) -> float:
        return self._left(now) if self._used else 0.0

    def _turn(self, now: float) -> None:
        window = int(now // self._period)
        if window != self._window:
            self._window = window
            self._used = 0

    def _left(self, now: float) -> float:
        return max((self._window + 1) * self._period - now, SHORTEST_WAIT)


class TokenBucket:
    """A bucket that holds `burst` (None is `limit`), full at first, and that `limit` flows into in a period."""

    def __init__(self, limit: int, period: float, burst: int | None = None) -> None:
        self.limit = limit
        self._period = period
        self._burst = burst
        self._level = float(self._capacity)
        self._at = -math.inf

    @property
    def _capacity(self) -> int:
        return self.limit if self._burst is None else self._burst

    def wait(self, now: float, cost: int) -> float:
        self._fill(now)
        if cost <= self._level:
            return 0.0
        if cost > self._capacity or not self.limit:
            return self._period
        return max((cost - self._level) * self._period / self.limit, SHORTEST_WAIT)

    def take(self, now: float, cost: int) -> None:
        self._fill(now)
        self._level -= cost

    def remaining(self, now: float) -> int:
        self._fill(now)
        return int(self._level)

    def reset(self, now: float) -> float:
        self._fill(now)
        return (self._capacity - self._level) * self._period / self.limit if self.limit else 0.0

    def _fill(self, now: float) -> None:
        capacity = self._capacity
        if self._level < capacity:
            self._level += (now - self._at) * self.limit / self._period
        self._level = min(self._level, capacity)
        self._at = now
