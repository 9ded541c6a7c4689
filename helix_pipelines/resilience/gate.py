"""The gate: one budget and one breaker for an upstream key, shared by all processes and hosts.

State and algorithm are in the database (`gate`, `gate_lease` and the functions `helix.gate_*` of revision 0002): each question
is one statement on one row, on the database's clock. A client only sleeps for as long as it is told. Design and figures:
docs/decisions/0005.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

import psycopg

from helix_pipelines.resilience.errors import GlobalError, HelixError, ItemError, LimitedError
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.rate_headers import NO_HEADERS, RateHeaders
from helix_pipelines.storage.queries import load

CONNECT_TIMEOUT = 5
"""Seconds; a database that takes longer is asked again."""
NO_DURABILITY = "-c synchronous_commit=off -c statement_timeout=15000"
"""A crash of the server may forget the last grants, and the gate leaves a second for them (14 times as many grants a second)."""

LEASE_MARGIN = 1.0
"""Seconds that a lease lives longer than its request may take."""
WORTH_CHECKING = 0.01
"""Seconds of waiting after which a grant is looked at again: shorter ones end before anything can have changed."""
LONGEST_BLOCK = 3600.0
"""Seconds; a service that asks to be left alone for longer is asked again all the same."""


class Kind(StrEnum):
    """Who asks: a person who waits for an answer (a reserve of the budget is theirs), or everything else."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Verdict(StrEnum):
    """The gate's answer; `helix.gate_acquire` says what each means."""

    GRANTED = "granted"
    BUSY = "busy"
    LATE = "late"
    BLOCKED = "blocked"
    OPEN = "open"
    SPENT = "spent"
    SHUT = "shut"


class Outcome(StrEnum):
    """How a request went, as far as the gate is concerned."""

    SUCCESS = "success"
    """Any answer that a working service gives, refusals of a text included."""
    LIMITED = "limited"
    TRANSIENT = "transient"
    GLOBAL = "global"
    ABANDONED = "abandoned"
    """Not sent, or given up by the caller before the service could be blamed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate said: for a grant the seconds to wait before sending, else the seconds after which to ask again.

    `code` and `message` say what is wrong where the gate is open or shut.
    """

    verdict: Verdict
    wait: float = 0.0
    lease: uuid.UUID | None = None
    is_probe: bool = False
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a request came to. `wait` is the seconds for which the service asked to be left alone, `tokens` what it counted."""

    outcome: Outcome
    tokens: int | None = None
    wait: float | None = None
    headers: RateHeaders = field(default=NO_HEADERS)
    code: str | None = None
    message: str | None = None


class Metered(Protocol):
    """What a service answered, with what it says of cost and limits."""

    @property
    def tokens(self) -> int:
        """Tokens that it counted."""

    @property
    def rate(self) -> RateHeaders:
        """Limits that it named."""


def success(reply: Metered) -> Report:
    """The report of a request that was answered."""
    return Report(Outcome.SUCCESS, tokens=reply.tokens, headers=reply.rate)


def failure(error: HelixError) -> Report:
    """The report of a request that ended in `error`."""
    match error:
        case LimitedError():
            wait = None if error.retry_after is None else min(error.retry_after, LONGEST_BLOCK)
            return Report(Outcome.LIMITED, wait=wait, headers=error.rate)
        case GlobalError():
            return Report(Outcome.GLOBAL, code=error.code, message=error.message)
        case ItemError():
            return Report(Outcome.SUCCESS)
        case _:
            return Report(Outcome.TRANSIENT, message=error.message)


def gate_connection(url: str) -> psycopg.Connection:
    """A connection for a gate alone, whose commits do not wait for the disk."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        options=NO_DURABILITY,
        application_name="helix gate",
        prepare_threshold=1,
    )


class Gate:
    """A process's way to one gate, for all its threads.

    `connect` gives an autocommit connection, as `gate_connection` does: in a transaction the gate's row would be locked to its
    end. It is asked for one at the first question and again after it broke. Raises psycopg.Error where the database cannot be
    asked: then nothing is granted.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], key: bytes, service: str, limits: GateLimits) -> None:
        self.key = key
        self.service = service
        self.limits = limits
        self._connect = connect
        self._holder = secrets.randbits(62)
        self._connection: psycopg.Connection | None = None
        self._turn = threading.Lock()

    def acquire(self, kind: Kind, tokens: int, *, ttl: float, max_wait: float, scope: str) -> Answer:
        """Ask to send one request of about `tokens` tokens.

        A lease lapses `ttl` seconds after the moment for which it was granted. No grant is given that would have to wait for
        more than `max_wait` seconds. `scope` is what an operator may correct (the model): a gate that was shut for another scope
        does not refuse this one.
        """
        parameters = {
            "class": str(kind),
            "tokens": tokens,
            "ttl": ttl,
            "max_wait": max_wait,
            "scope": scope,
            "holder": self._holder,
        }
        verdict, wait, lease, is_probe, code, message = self._ask("gate_acquire", parameters)
        return Answer(Verdict(verdict), wait or 0.0, lease, bool(is_probe), code, message)

    def still_holds(self, lease: uuid.UUID, scope: str | None = None) -> bool:
        """Whether a grant is still good after its wait; a gate that was shut for another `scope` does not matter."""
        (holds,) = self._ask("gate_check", {"lease": lease, "scope": scope})
        return bool(holds)

    def release(self, lease: uuid.UUID, report: Report, scope: str) -> None:
        """Give back a lease with what the request came to."""
        headers = report.headers
        parameters = {
            "lease": lease,
            "outcome": str(report.outcome),
            "tokens": report.tokens,
            "wait": report.wait,
            "limit_requests": headers.limit_requests,
            "remaining_requests": headers.remaining_requests,
            "limit_tokens": headers.limit_tokens,
            "remaining_tokens": headers.remaining_tokens,
            "code": report.code,
            "message": report.message,
            "scope": scope,
        }
        self._ask("gate_release", parameters)

    def close(self) -> None:
        """Close the connection; leases that are held lapse by themselves."""
        with self._turn:
            self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _ask(self, query: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
        with self._turn:
            try:
                connection = self._connected()
                row = connection.execute(load(query), {"key": self.key, **parameters}).fetchone()
            except psycopg.Error:
                if self._connection is not None and self._connection.closed:
                    self._connection = None
                raise
        assert row is not None
        return row

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = self._connect()
            # While it is held the process lives: others need not wait for a dead one's leases to lapse by themselves. Shared, as
            # the server may not have noticed yet that an earlier connection is gone.
            connection.execute("SELECT pg_try_advisory_lock_shared(%s)", [self._holder])
            self._register(connection)
            self._connection = connection
        return self._connection

    def _register(self, connection: psycopg.Connection) -> None:
        """Tell the gate what the settings say; the last process to start is believed."""
        limits = self.limits
        connection.execute(
            load("gate_register"),
            {
                "key": self.key,
                "service": self.service,
                "requests": limits.requests_per_minute,
                "tokens": limits.tokens_per_minute,
                "concurrency": limits.max_concurrency,
                "period": limits.period_seconds,
                "day": limits.tokens_per_day,
                "threshold": limits.failure_threshold,
                "probe_cap": limits.probe_cap_seconds,
            },
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
