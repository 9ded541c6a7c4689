"""Requests through a gate: ask, wait, send, report, and try again where that can help.

Everything that calls a service goes through here, so that limits, breaker and retries are the same for all of it.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psycopg
import structlog

from helix_pipelines.resilience.errors import GlobalError, HelixError, UnavailableError
from helix_pipelines.resilience.gate import (
    LEASE_MARGIN,
    WORTH_CHECKING,
    Answer,
    Gate,
    Kind,
    Metered,
    Outcome,
    Report,
    Verdict,
    failure,
    success,
)
from helix_pipelines.resilience.retry import RetryBudget, call_with_retry, full_jitter

log = structlog.get_logger(__name__)

LONGEST_NAP = 1.0
"""Seconds after which a closed gate is asked again although it said longer: an operator may have opened it meanwhile."""
CROWD_NAP = 0.2
"""Seconds between two questions where others take turns; asking more often costs everybody the gate's row."""
NO_LIMIT = 1e9
DATABASE_PATIENCE = 30.0
"""Seconds for which a gate whose database is away is asked again."""

Lease = uuid.UUID
Reply = TypeVar("Reply", bound=Metered)
T = TypeVar("T")


class StoppedError(Exception):
    """The work was stopped while it waited; nothing was sent."""


class GatedCalls:
    """Calls to one service, from any number of threads of a process, that wait for their turn.

    `scope` is what an operator may correct about the calls (the model). `patience` is seconds for which the service may be away.
    """

    def __init__(self, gate: Gate, scope: str, *, patience: float) -> None:
        self._gate = gate
        self._scope = scope
        self._patience = patience
        self._stop = threading.Event()
        self._asking = threading.Lock()
        self._budget = RetryBudget()
        self._away_since: float | None = None

    @property
    def key(self) -> bytes:
        """The gate's key."""
        return self._gate.key

    def stop(self) -> None:
        """End every wait: calls that have not been sent raise StoppedError."""
        self._stop.set()

    def call(self, send: Callable[[float], Reply], tokens: int, timeout: float) -> Reply:
        """Return what `send(deadline)` returns, through the gate, with retries that all end within `timeout` seconds.

        `tokens` is an estimate. The seconds spent waiting for a turn do not count.

        Raises what `send` raised last, GlobalError where the gate is shut, UnavailableError where the service cannot be used for
        longer than the caller's patience, StoppedError.
        """
        waited = 0.0

        def working_time() -> float:
            return time.monotonic() - waited

        ends = working_time() + timeout

        def attempt() -> Reply:
            nonlocal waited
            began = time.monotonic()
            lease = self._turn(tokens, timeout)
            waited += time.monotonic() - began
            return self._send(send, time.monotonic() + ends - working_time(), lease)

        self._budget.record_request()
        return call_with_retry(attempt, deadline=ends, sleep=self._nap, clock=working_time, budget=self._budget)

    def _send(self, send: Callable[[float], Reply], deadline: float, lease: Lease) -> Reply:
        report = Report(Outcome.ABANDONED)
        try:
            reply = send(deadline)
            report = success(reply)
            return reply
        except HelixError as error:
            report = failure(error)
            raise
        finally:
            if report.outcome is Outcome.SUCCESS:
                self._away_since = None
            # Also after a stop: it has been sent, and everybody's account and breaker depend on what came of it.
            self._persist(partial(self._gate.release, lease, report, self._scope), time.sleep)

    def _turn(self, tokens: int, timeout: float) -> Lease:
        """Wait for a grant that still holds when its time has come. One thread of a process asks at a time."""
        while True:
            with self._asking:
                answer = self._granted(tokens, timeout)
            lease = answer.lease
            assert lease is not None
            try:
                self._nap(answer.wait)
                if answer.wait <= WORTH_CHECKING or self._persist(
                    partial(self._gate.still_holds, lease, self._scope), self._nap
                ):
                    return lease
            except BaseException:
                self._hand_back(lease)
                raise
            self._hand_back(lease)

    def _granted(self, tokens: int, timeout: float) -> Answer:
        crowded = 0
        ask = partial(
            self._gate.acquire,
            Kind.BULK,
            tokens,
            ttl=timeout + LEASE_MARGIN,
            max_wait=NO_LIMIT,
            scope=self._scope,
        )
        while True:
            if self._stop.is_set():
                raise StoppedError
            answer = self._persist(ask, self._nap)
            if answer.verdict is Verdict.GRANTED:
                return answer
            self._refuse_or_stay(answer)
            crowded += 1
            self._nap(_nap_seconds(answer.wait, crowded))

    def _refuse_or_stay(self, answer: Answer) -> None:
        """Raise where waiting makes no sense or has taken too long."""
        match answer.verdict:
            case Verdict.SHUT:
                raise GlobalError(
                    answer.code or "GATE_SHUT",
                    f"{answer.message} Then run `helix breaker reset`.",
                )
            case Verdict.SPENT:
                raise UnavailableError(
                    "DAY_BUDGET_SPENT",
                    f"The day's budget for the {self._gate.service} service is used up; the next day begins at 00:00 UTC.",
                    answer.wait,
                )
            case Verdict.OPEN | Verdict.BLOCKED:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now + min(answer.wait, LONGEST_NAP) - self._away_since > self._patience:
                    raise self._unavailable(answer)

    def _unavailable(self, answer: Answer) -> UnavailableError:
        service = self._gate.service
        if answer.verdict is Verdict.OPEN:
            message = f"The {service} service does not answer. {answer.message or ''}".strip()
            return UnavailableError("SERVICE_DOWN", message, answer.wait)
        message = f"The {service} service asks to be left alone for {answer.wait:.0f} s."
        return UnavailableError("SERVICE_BLOCKED", message, answer.wait)

    def _hand_back(self, lease: Lease) -> None:
        self._persist(partial(self._gate.release, lease, Report(Outcome.ABANDONED), self._scope), self._nap)

    def _nap(self, seconds: float) -> None:
        if seconds > 0 and self._stop.wait(seconds):
            raise StoppedError

    def _persist(self, ask: Callable[[], T], sleep: Callable[[float], None]) -> T:
        """Ask the gate, again where its database is away for a moment: nothing is sent without it."""
        gives_up = time.monotonic() + DATABASE_PATIENCE
        tries = 0
        while True:
            try:
                return ask()
            except psycopg.OperationalError as error:
                tries += 1
                wait = min(full_jitter(tries), 1.0)
                if time.monotonic() + wait > gives_up:
                    raise
                log.warning(
                    "gate_unreachable", service=self._gate.service, error=str(error).strip(), wait=round(wait, 2)
                )
                sleep(wait)


def _nap_seconds(wait: float, times: int) -> float:
    """Seconds until the gate is asked again: as it said, but ever longer where many take turns within moments."""
    if wait >= CROWD_NAP:
        return min(wait, LONGEST_NAP)
    return min(wait * 1.5 ** min(times, 10), CROWD_NAP) * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
