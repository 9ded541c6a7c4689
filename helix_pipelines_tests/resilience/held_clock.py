"""A gate in a real database whose clock stands still until a test moves it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from helix_pipelines.resilience.gate import Answer, Gate, Kind, Outcome, Report, Verdict
from helix_pipelines.resilience.gate_limits import GateLimits

BEGINNING = datetime(2100, 1, 1, 12, tzinfo=UTC)
"""After the start of the server, before which a gate grants nothing."""
SECOND = timedelta(seconds=1)

HOLD = f"""
CREATE OR REPLACE FUNCTION helix.gate_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$SELECT timestamptz '{BEGINNING.isoformat()}' + current_setting('helix.test_seconds')::float8 * interval '1 second'$$
"""


class HeldClock:
    """The gate's clock for one connection; `now` is in seconds from `BEGINNING`."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        connection.execute(HOLD.encode())
        self.now = 0.0

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, seconds: float) -> None:
        self._now = seconds
        self.connection.execute("SELECT set_config('helix.test_seconds', %s, false)", [repr(seconds)])


@contextmanager
def held_clock(url: str) -> Iterator[HeldClock]:
    """A connection whose gates are on a clock that stands at zero."""
    with psycopg.connect(url, autocommit=True, options="-c synchronous_commit=off", prepare_threshold=1) as connection:
        yield HeldClock(connection)


@dataclass
class HeldGate:
    """A gate of its own for a test, and what the test does with it: ask, answer, let time pass."""

    clock: HeldClock
    gate: Gate
    scope: str = "model"

    @classmethod
    def of(cls, clock: HeldClock, limits: GateLimits) -> HeldGate:
        """A gate with a new key."""
        return cls(clock, Gate(lambda: clock.connection, secrets.token_bytes(16), "embedding", limits))

    def with_limits(self, **limits: Any) -> HeldGate:
        """The same gate as a process sees it whose settings are others."""
        gate = Gate(lambda: self.clock.connection, self.gate.key, "embedding", replace(self.gate.limits, **limits))
        return replace(self, gate=gate)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds

    def ask(
        self,
        tokens: int = 1,
        *,
        kind: Kind = Kind.BULK,
        ttl: float = 1e6,
        max_wait: float = 1e9,
        scope: str | None = None,
    ) -> Answer:
        """What the gate says now."""
        return self.gate.acquire(kind, tokens, ttl=ttl, max_wait=max_wait, scope=scope or self.scope)

    def grant(self, tokens: int = 1, **question: Any) -> Answer:
        """Ask, and expect a grant."""
        answer = self.ask(tokens, **question)
        assert answer.verdict is Verdict.GRANTED
        return answer

    def end(self, grant: Answer, outcome: Outcome = Outcome.SUCCESS, **report: Any) -> None:
        """Report how a granted request went."""
        assert grant.lease is not None
        self.gate.release(grant.lease, Report(outcome, **report), self.scope)

    def request(self, outcome: Outcome = Outcome.SUCCESS, tokens: int = 1, **report: Any) -> Answer:
        """One request from beginning to end, in no time."""
        grant = self.grant(tokens)
        self.end(grant, outcome, **report)
        return grant

    def fail(self, times: int) -> None:
        """So many requests that fail one after another."""
        for _ in range(times):
            self.request(Outcome.TRANSIENT, message="503")

    def holds(self, grant: Answer) -> bool:
        """Whether a grant is still good."""
        assert grant.lease is not None
        return self.gate.still_holds(grant.lease, self.scope)

    def row(self) -> dict[str, Any]:
        """The gate's record."""
        with self.clock.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("SELECT * FROM helix.gate WHERE key_hash = %s", [self.gate.key]).fetchone()
        assert row is not None
        return row
