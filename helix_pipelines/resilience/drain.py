"""The engine for work that calls out: pending items go through a limited, failing service, results are stored as they come.

A phase supplies how to claim (an iterator of batches), how to call (in worker threads) and how to store (in the caller's
thread, the only writer). What a kill can cost is what was in flight and what arrived within `GROUP_SECONDS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from helix_pipelines.resilience.errors import GlobalError, HelixError, ItemError, LimitedError, TransientError
from helix_pipelines.resilience.retry import call_with_retry

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP_SECONDS = 0.5
"""Results are committed together over at most this long: one commit a response costs more than the response."""
BATCHES_WAITING = 4
"""Batches that wait for each worker, so that it does not idle while the writer is busy. A kill loses nothing of them."""
FAILURES_TO_STOP = 5
"""Batches in a row that failed after all their retries: the service is down, going on would only knock at it."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of some items: a result for all of them, or the error that refused them."""

    items: Sequence[Item]
    result: Result | None
    error: HelixError | None


def drain(
    batches: Iterator[Sequence[Item]],
    call: Callable[[Sequence[Item], float], Result],
    store: Callable[[Sequence[Outcome[Item, Result]]], None],
    *,
    concurrency: int,
    batch_timeout: float,
) -> None:
    """Send every batch, `concurrency` at a time, and store what comes back.

    `call(items, deadline)` is repeated on transient and limited errors until `batch_timeout` seconds are over. A batch that
    is refused (ItemError) is bisected until the refused items stand alone; those are stored as errors, all others as results.

    Raises GlobalError at once, TransientError or LimitedError after FAILURES_TO_STOP batches in a row; what had arrived by
    then is stored.
    """
    stop = threading.Event()
    in_flight: set[Future[list[Outcome[Item, Result]]]] = set()
    arrived: list[Outcome[Item, Result]] = []
    verdict = _Verdict()
    stored_at = monotonic()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="drain") as pool:
        try:
            while True:
                while len(in_flight) < (1 + BATCHES_WAITING) * concurrency and (
                    items := next(batches, None) if verdict.error is None else None
                ):
                    in_flight.add(pool.submit(_send, call, items, batch_timeout, stop))
                if not in_flight:
                    break
                finished, in_flight = wait(in_flight, timeout=GROUP_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    arrived.extend(verdict.judge(future.result()))
                if verdict.error is not None:
                    stop.set()
                if arrived and (monotonic() - stored_at >= GROUP_SECONDS or not in_flight):
                    store(arrived)
                    arrived = []
                    stored_at = monotonic()
            if arrived:
                store(arrived)
        finally:
            stop.set()
    if verdict.error is not None:
        raise verdict.error


class _Verdict:
    """Keeps the outcomes that can be stored and notices when going on makes no sense."""

    def __init__(self) -> None:
        self.error: HelixError | None = None
        self._failures = 0

    def judge(self, outcomes: Sequence[Outcome[Item, Result]]) -> Iterator[Outcome[Item, Result]]:
        """The outcomes to store; items that failed for a passing reason are left pending."""
        for outcome in outcomes:
            if isinstance(outcome.error, GlobalError):
                self.error = outcome.error
            elif isinstance(outcome.error, TransientError | LimitedError):
                self._failures += 1
                if self._failures >= FAILURES_TO_STOP:
                    self.error = self.error or outcome.error
            else:
                if outcome.error is None:
                    self._failures = 0
                yield outcome


def _send(
    call: Callable[[Sequence[Item], float], Result], items: Sequence[Item], batch_timeout: float, stop: threading.Event
) -> list[Outcome[Item, Result]]:
    """Outcomes of one batch; a refused one is halved until the refused items stand alone."""
    if stop.is_set():
        return []
    deadline = monotonic() + batch_timeout
    try:
        result = call_with_retry(
            lambda: call(items, deadline), deadline=deadline, sleep=lambda seconds: _wait(stop, seconds)
        )
    except ItemError as error:
        if len(items) == 1:
            return [Outcome(items, None, error)]
        middle = len(items) // 2
        halves = (items[:middle], items[middle:])
        return [outcome for half in halves for outcome in _send(call, half, batch_timeout, stop)]
    except HelixError as error:
        return [Outcome(items, None, error)]
    return [Outcome(items, result, None)]


def _wait(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)
