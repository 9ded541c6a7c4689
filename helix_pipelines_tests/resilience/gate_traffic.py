"""Callers of a gate on a held clock: a simulation of events in which seconds pass at once."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from helix_pipelines.resilience.gate import Answer, Kind, Outcome, Verdict
from helix_pipelines_tests.fakes.accounting import Arrivals
from helix_pipelines_tests.resilience.held_clock import HeldGate

Draw = Callable[[random.Random], float]
JITTER = 0.3
"""Seconds that a request may be longer on its way than another without a limit being passed."""
SHORTEST_POLL = 0.02


@dataclass(frozen=True)
class Caller:
    """Asks, waits, sends, and after `pause` seconds begins again.

    `estimate` is in tokens, `factor` what the service counts of them, `latency` and `pause` are in seconds.
    """

    kind: Kind
    estimate: Draw
    latency: Draw
    pause: Draw
    factor: Draw = lambda _: 1.0
    max_wait: float = 1e9
    arrives: float = 0.0


@dataclass
class Traffic:
    """What callers did to a gate. `starts` are the moments that it chose, `arrivals` those at which the service saw them."""

    held: HeldGate
    seed: int
    starts: Arrivals = field(default_factory=lambda: Arrivals([], [], [], [], []))
    arrivals: Arrivals = field(default_factory=lambda: Arrivals([], [], [], [], []))

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._origin = self.held.clock.now
        self._turns = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, callers: list[Caller], events: int) -> float:
        """Go on for so many events (questions and answers); returns the seconds that passed."""
        for caller in callers:
            self._at(self._origin + caller.arrives, caller, self._ask)
        for _ in range(events if callers else 0):
            now, _, event = heapq.heappop(self._events)
            self.held.clock.now = now
            event()
        return self.held.clock.now - self._origin

    def _at(self, moment: float, caller: Caller, event: Callable[[Caller], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._turns), lambda: event(caller)))

    def _ask(self, caller: Caller) -> None:
        now = self.held.clock.now
        estimate = max(1, round(caller.estimate(self._random)))
        answer = self.held.ask(estimate, kind=caller.kind, max_wait=caller.max_wait)
        if answer.verdict is not Verdict.GRANTED:
            self._at(now + max(SHORTEST_POLL, min(answer.wait, 5.0)), caller, self._ask)
            return
        start = now + answer.wait
        ends = start + JITTER + caller.latency(self._random)
        tokens = max(1, round(estimate * caller.factor(self._random)))
        for log, at in ((self.starts, start), (self.arrivals, start + self._random.uniform(0, JITTER * 0.999))):
            log.at.append(at)
            log.ended.append(ends)
            log.texts.append(1)
            log.tokens.append(tokens)
            log.status.append(200)

        def end(caller: Caller, answer: Answer = answer) -> None:
            self.held.end(answer, Outcome.SUCCESS, tokens=tokens)
            self._at(self.held.clock.now + caller.pause(self._random), caller, self._ask)

        self._at(ends, caller, end)
