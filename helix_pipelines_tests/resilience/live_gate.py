"""A gate on the database's own clock, a service that answers as it is told, and what a test does to both."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from helix_pipelines.resilience.errors import HelixError
from helix_pipelines.resilience.gate import Gate, Kind, Outcome, Report, Verdict, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.rate_headers import NO_HEADERS, RateHeaders

SCOPE = "model"


@dataclass(frozen=True)
class Reply:
    """What the service answers."""

    tokens: int = 1
    rate: RateHeaders = NO_HEADERS


@dataclass
class Service:
    """Raises or returns what it is told in turn, then answers; notes when it was asked and how long it might take."""

    script: list[HelixError | Reply | Callable[[], Reply]] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)

    def send(self, deadline: float) -> Reply:
        now = time.monotonic()
        self.asked.append(now)
        self.allowed.append(deadline - now)
        answer = self.script.pop(0) if self.script else Reply()
        if isinstance(answer, HelixError):
            raise answer
        return answer if isinstance(answer, Reply) else answer()


class LiveGate:
    """A gate of its own for a test; `gate` is as another process sees it."""

    def __init__(self, url: str, limits: GateLimits) -> None:
        self.url = url
        self.gate = Gate(self.connect, secrets.token_bytes(16), "embedding", limits)
        self.refused = threading.Event()
        """While it is set nobody reaches the database anew."""
        self._processes = [self.gate]

    def another(self) -> Gate:
        """The same gate in a process of its own."""
        self._processes.append(Gate(self.connect, self.gate.key, self.gate.service, self.gate.limits))
        return self._processes[-1]

    def close(self) -> None:
        """Close all connections."""
        for process in self._processes:
            process.close()

    def connect(self) -> psycopg.Connection:
        """What a gate asks for its connection."""
        if self.refused.is_set():
            raise psycopg.OperationalError("connection refused")
        return gate_connection(self.url)

    def report(self, outcome: Outcome, times: int = 1, **report: str | float) -> None:
        """So many requests of others with this outcome."""
        for _ in range(times):
            answer = self.gate.acquire(Kind.BULK, 1, ttl=60, max_wait=1e9, scope=SCOPE)
            assert answer.verdict is Verdict.GRANTED
            assert answer.lease is not None
            self.gate.release(answer.lease, Report(outcome, **report), SCOPE)  # type: ignore[arg-type]

    def hold(self, seconds: float = 60) -> None:
        """Take a place for so long."""
        assert self.gate.acquire(Kind.BULK, 1, ttl=seconds, max_wait=0, scope=SCOPE).verdict is Verdict.GRANTED

    def open_breaker(self) -> None:
        """Have the service fail for others; the first probe is due at once."""
        self.report(Outcome.TRANSIENT, self.gate.limits.failure_threshold, message="503")

    def keep_open(self) -> None:
        """The same, with nobody asking for an hour."""
        self.open_breaker()
        self._execute("UPDATE helix.gate SET retry_at = clock_timestamp() + interval '1 hour' WHERE key_hash = %s")

    def block(self, seconds: int) -> None:
        """Have the service ask everybody to leave it alone."""
        self._execute(
            f"UPDATE helix.gate SET blocked_until = clock_timestamp() + interval '{seconds} seconds' WHERE key_hash = %s"
        )

    def leases(self) -> int:
        """How many places are taken."""
        return int(self._execute("SELECT count(*) FROM helix.gate_lease WHERE key_hash = %s"))

    def cut(self) -> int:
        """End the connections of all gates of the database, as a restart of the server does; returns their number."""
        return int(
            self._execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'helix gate' AND datname = current_database() AND %s::bytea IS NOT NULL"
            )
        )

    def _execute(self, statement: str) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), [self.gate.key])
            row = cursor.fetchone() if cursor.description else None
        return 0 if row is None else row[0]
