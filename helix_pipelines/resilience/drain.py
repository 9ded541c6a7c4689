"""The engine for work that calls out: pending items go through a limited, failing service, results are stored as they come.

A phase supplies how to claim (an iterator of batches), how to call (in worker threads, through the gate) and how to store (in the
caller's thread, the only writer). A place is freed when its result is stored: a kill costs `concurrency` batches at most.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from helix_pipelines.resilience.errors import (
    GlobalError,
    HaltError,
    HelixError,
    ItemError,
    LimitedError,
    TimedOutError,
    TooLargeError,
    TransientError,
    UnavailableError,
)
from helix_pipelines.resilience.gated_calls import StoppedError


class Timed(Protocol):
    """A result that tells how many seconds the service took for it."""

    @property
    def seconds(self) -> float:
        """Without the time that the request waited for its turn."""


Item = TypeVar("Item")
Result = TypeVar("Result", bound=Timed)

BATCHES_OF_A_WORKER = 2
"""One that is sent, and one that waits for it or for the writer: more would only be lost by a kill."""
LOOK_SECONDS = 0.5
"""Between two looks at a service that does not answer."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of some items: a result for all of them, or the error that ended their call.

    An ItemError stands for a single item, which is refused for good. A TransientError or LimitedError leaves its items for later.
    """

    items: Sequence[Item]
    result: Result | None
    error: HelixError | None


class Sizer(Protocol):
    """Whoever decides on the size of the next batches, told how the last ones went."""

    def record_success(self, seconds: float) -> None:
        """A request took so long."""

    def record_too_large(self, items: int) -> None:
        """A request of so many items was refused as too large."""

    def record_timed_out(self) -> None:
        """A request ran into its deadline."""


def drain(
    batches: Iterator[Sequence[Item]],
    call: Callable[[Sequence[Item]], Result],
    store: Callable[[Sequence[Outcome[Item, Result]]], None],
    *,
    concurrency: int,
    sizer: Sizer,
    stop: Callable[[], None],
) -> None:
    """Send every batch, `concurrency` at a time, and store what comes back.

    A batch that is refused (ItemError) is halved until the refused items stand alone: k of N cost at most
    2 k * ceil(log2 N) + 1 requests. Any other failure is of the batch as a whole and never splits it.

    Raises GlobalError, UnavailableError or HaltError once a call does: then `stop` is called, which has to end the waits of other
    calls (they raise StoppedError); what has been sent is waited for and stored.
    """
    sending = _Sending(batches, call, concurrency, sizer)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="drain") as pool:
        try:
            while sending.fill(pool):
                group = sending.collect()
                if sending.error is not None:
                    stop()
                if group:
                    store(group)
                    sending.free_places(len(group))
        except BaseException:
            stop()
            raise
        finally:
            sending.end()
    if sending.error is not None:
        raise sending.error


class _Sending(Generic[Item, Result]):
    """Batches on their way: what is sent next, and what an outcome means for the rest."""

    def __init__(
        self,
        batches: Iterator[Sequence[Item]],
        call: Callable[[Sequence[Item]], Result],
        concurrency: int,
        sizer: Sizer,
    ) -> None:
        self._batches = batches
        self._call = call
        self._places = BATCHES_OF_A_WORKER * concurrency
        self._sizer = sizer
        self._halves: deque[Sequence[Item]] = deque()
        self._unsaved = threading.Semaphore(concurrency)
        self._group = (concurrency + 1) // 2
        self._arrived: deque[Outcome[Item, Result]] = deque()
        self._in_flight: set[Future[Outcome[Item, Result] | None]] = set()
        self.error: HelixError | None = None

    def fill(self, pool: ThreadPoolExecutor) -> bool:
        """Hand batches to the workers as far as there are places; whether anything is under way or to be stored."""
        while self.error is None and len(self._in_flight) + len(self._arrived) < self._places:
            items = self._halves.popleft() if self._halves else next(self._batches, None)
            if items is None:
                break
            self._in_flight.add(pool.submit(self._send, items))
        return bool(self._in_flight or self._arrived)

    def collect(self) -> list[Outcome[Item, Result]]:
        """Outcomes that are to be stored, of the calls that have ended; none after a moment without any.

        They are half as many as there are places at most: if all were stored together, the service would wait for the writer and
        the writer for the service.
        """
        patience = 0 if self._arrived else LOOK_SECONDS
        finished, self._in_flight = wait(self._in_flight, timeout=patience, return_when=FIRST_COMPLETED)
        for future in finished:
            outcome = future.result()
            if outcome is not None and self._is_final(outcome):
                self._arrived.append(outcome)
            else:
                self.free_places(1)
        return [self._arrived.popleft() for _ in range(min(self._group, len(self._arrived)))]

    def _is_final(self, outcome: Outcome[Item, Result]) -> bool:
        match outcome.error:
            case None:
                assert outcome.result is not None
                self._sizer.record_success(outcome.result.seconds)
            case GlobalError() | UnavailableError() | HaltError():
                self.error = self.error or outcome.error
                return False
            case ItemError() if len(outcome.items) > 1:
                if isinstance(outcome.error, TooLargeError):
                    self._sizer.record_too_large(len(outcome.items))
                middle = len(outcome.items) // 2
                self._halves += (outcome.items[:middle], outcome.items[middle:])
                return False
            case TimedOutError():
                self._sizer.record_timed_out()
            case ItemError() | TransientError() | LimitedError():
                pass
            case _:
                raise outcome.error
        return True

    def free_places(self, number: int) -> None:
        """So many outcomes have been stored, or need not be: as many others may be sent."""
        self._unsaved.release(number)

    def end(self) -> None:
        """Nothing is stored any more: whoever waits for a place finds out that the work is stopped."""
        self._unsaved.release(self._places)

    def _send(self, items: Sequence[Item]) -> Outcome[Item, Result] | None:
        """What a call came to; None where it was stopped before it was sent."""
        self._unsaved.acquire()
        try:
            return Outcome(items, self._call(items), None)
        except StoppedError:
            return None
        except HelixError as error:
            return Outcome(items, None, error)
