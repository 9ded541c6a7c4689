"""What the fake embedding service has seen: counters, and a log of every arrival that proofs can be made from."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
import orjson

OutageKind = Literal["503", "refused", "hang"]
UNANSWERED = 0
"""Status of a request that is in flight, hangs, or was cut by an outage."""
CLIENT_LEFT = 499
"""Status of a request whose client left before its answer, as nginx has it."""


class OutageCounters(msgspec.Struct, kw_only=True):
    """One outage. Times are readings of the monotonic clock, which all processes of a host share.

    `requests` arrived during the outage, and `in_flight_peak` is the greatest number of them at the same time. While
    connections are refused nothing arrives: the kernel answers.
    """

    kind: OutageKind
    began: float
    ended: float | None = None
    requests: int = 0
    in_flight: int = 0
    in_flight_peak: int = 0
    first_success: float | None = None
    """When the first answer with vectors left to a request that came after the end."""


class Counters(msgspec.Struct, kw_only=True):
    """What the service has seen since its start or the last reset.

    `requests` counts every embedding request. `answered`, `texts` and `tokens` count only what was answered with
    vectors, which is what a client would have paid for, even if it had left by then. `texts_seen_twice` counts texts
    that had been answered before, and `texts_spoilt` those in answers broken on purpose, which have to be paid again.
    """

    requests: int = 0
    answered: int = 0
    texts: int = 0
    tokens: int = 0
    texts_seen_twice: int = 0
    texts_spoilt: int = 0
    in_flight: int = 0
    in_flight_peak: int = 0
    statuses: dict[int, int] = msgspec.field(default_factory=dict)
    """Number of requests by the status that ended them; 0 is no answer, 499 a client that left."""
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    """Number of faults by their kind, such as `wrong_count`."""
    outages: list[OutageCounters] = msgspec.field(default_factory=list)
    """In their order, from their beginning on."""


class Arrivals(msgspec.Struct):
    """Every embedding request in the order of arrival, a list per column. Times are readings of the monotonic clock."""

    at: list[float]
    ended: list[float | None]
    """None is in flight."""
    texts: list[int]
    tokens: list[int]
    status: list[int]

    def __len__(self) -> int:
        return len(self.at)

    def with_status(self, *statuses: int) -> Arrivals:
        """Those that ended with one of these."""
        return self._where(status in statuses for status in self.status)

    def between(self, since: float, until: float) -> Arrivals:
        """Those that arrived from `since` on and before `until`."""
        return self._where(since <= at < until for at in self.at)

    def _where(self, wanted: Iterable[bool]) -> Arrivals:
        places = [place for place, keep in enumerate(wanted) if keep]
        columns = (getattr(self, name) for name in self.__struct_fields__)
        return Arrivals(*([column[place] for place in places] for column in columns))


class Slice(msgspec.Struct):
    """What arrived in a slice of time that begins `start` seconds after the first arrival."""

    start: float
    requests: int = 0
    answered: int = 0
    """With status 200 ..."""
    answered_tokens: int = 0
    """... and their tokens."""
    limited: int = 0
    """With status 429."""


class Ledger:
    """Counters and log of one stretch from a reset to the next; a request is booked where it arrived."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._seen: set[int] = set()
        self._at = array("d")
        self._ended = array("d")
        self._texts = array("I")
        self._tokens = array("I")
        self._status = array("H")

    def arrive(self, now: float, texts: int, tokens: int, outage: OutageCounters | None) -> int:
        """Book an arrival and give its place in the log."""
        counters = self.counters
        counters.requests += 1
        counters.in_flight += 1
        counters.in_flight_peak = max(counters.in_flight_peak, counters.in_flight)
        if outage is not None:
            outage.requests += 1
            outage.in_flight += 1
            outage.in_flight_peak = max(outage.in_flight_peak, outage.in_flight)
        self._at.append(now)
        self._ended.append(np.nan)
        self._texts.append(texts)
        self._tokens.append(tokens)
        self._status.append(UNANSWERED)
        return len(self._at) - 1

    def pay(self, texts: list[str], tokens: int, *, spoilt: bool) -> None:
        """Book an answer with vectors."""
        hashes = [hash(text) for text in texts]
        before = len(self._seen)
        self._seen.update(hashes)
        counters = self.counters
        counters.answered += 1
        counters.texts += len(texts)
        counters.tokens += tokens
        counters.texts_seen_twice += len(texts) - (len(self._seen) - before)
        counters.texts_spoilt += len(texts) if spoilt else 0

    def leave(self, place: int, status: int, outage: OutageCounters | None) -> None:
        """Book the end of the request at that place."""
        self._ended[place] = time.monotonic()
        self._status[place] = status
        counters = self.counters
        counters.in_flight -= 1
        counters.statuses[status] = counters.statuses.get(status, 0) + 1
        if outage is not None:
            outage.in_flight -= 1

    def arrivals(self) -> bytes:
        """The log as the JSON of `Arrivals`."""
        columns = {
            "at": np.array(self._at),
            "ended": np.array(self._ended),
            "texts": np.array(self._texts, np.uint32),
            "tokens": np.array(self._tokens, np.uint32),
            "status": np.array(self._status, np.uint32),
        }
        return orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY)


def sliding_window_peak(arrivals: Arrivals, period: float) -> tuple[int, int]:
    """The most requests, and the most tokens, that arrived in any half-open window of `period` seconds.

    A limit per period holds in every sliding window if and only if neither is above it. An arrival exactly one period
    after another is not in the same window.
    """
    moments = sorted(zip(arrivals.at, arrivals.tokens, strict=True))
    first = requests = tokens = most_requests = most_tokens = 0
    for at, cost in moments:
        requests += 1
        tokens += cost
        while at - moments[first][0] >= period:
            requests -= 1
            tokens -= moments[first][1]
            first += 1
        most_requests = max(most_requests, requests)
        most_tokens = max(most_tokens, tokens)
    return most_requests, most_tokens


def in_flight_peak(arrivals: Arrivals) -> int:
    """The most of these requests that were in flight at the same time; one that ends as another arrives is not."""
    moments = [(at, 1) for at in arrivals.at] + [(ended, -1) for ended in arrivals.ended if ended is not None]
    running = peak = 0
    for _, step in sorted(moments):
        running += step
        peak = max(peak, running)
    return peak


def time_slices(arrivals: Arrivals, seconds: float) -> list[Slice]:
    """Counters per slice of so many seconds from the first arrival to the last, empty slices too."""
    if not arrivals.at:
        return []
    first = arrivals.at[0]
    places = [int((at - first) // seconds) for at in arrivals.at]
    slices = [Slice(place * seconds) for place in range(max(places) + 1)]
    for place, tokens, status in zip(places, arrivals.tokens, arrivals.status, strict=True):
        book = slices[place]
        book.requests += 1
        book.limited += status == 429
        if status == 200:
            book.answered += 1
            book.answered_tokens += tokens
    return slices
