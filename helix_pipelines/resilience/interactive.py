"""One request for a person who waits: through the same gate as all others, but now or not at all.

Nothing is repeated here, and neither tenacity nor structlog is loaded: `helix search` has 0.5 s for everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from helix_pipelines.resilience.errors import GlobalError, HelixError, TimedOutError, UnavailableError
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

Reply = TypeVar("Reply", bound=Metered)

WHY = {
    Verdict.BUSY: "all its places are taken",
    Verdict.LATE: "its budget is in use",
    Verdict.BLOCKED: "it asked to be left alone for a while",
    Verdict.OPEN: "it does not answer",
    Verdict.SPENT: "the budget of the day is used up",
}


def call_now(gate: Gate, send: Callable[[float], Reply], *, tokens: int, scope: str, deadline: float) -> Reply:
    """Return what `send(deadline)` returns, if the gate lets it through in time; `deadline` is of `time.monotonic()`.

    Raises UnavailableError (SERVICE_UNAVAILABLE) where it does not, GlobalError where it is shut, psycopg.Error where the gate
    cannot be asked, and what `send` raises.
    """
    answer = _ask(gate, tokens, scope, deadline)
    assert answer.lease is not None
    report = Report(Outcome.ABANDONED)
    try:
        time.sleep(answer.wait)
        if answer.wait <= WORTH_CHECKING or gate.still_holds(answer.lease, scope):
            reply = send(deadline)
            report = success(reply)
            return reply
    except TimedOutError as error:
        # The deadline is a person's, far below what the service may need: no fault of the service, but for a probe.
        report = failure(error) if answer.is_probe else report
        raise
    except HelixError as error:
        report = failure(error)
        raise
    finally:
        gate.release(answer.lease, report, scope)
    raise _refusal(gate, "that changed while its turn was waited for", 0.0)


def _ask(gate: Gate, tokens: int, scope: str, deadline: float) -> Answer:
    """A grant that leaves time for the request."""
    while True:
        left = max(0.0, deadline - time.monotonic())
        answer = gate.acquire(Kind.INTERACTIVE, tokens, ttl=left + LEASE_MARGIN, max_wait=left / 2, scope=scope)
        if answer.verdict is Verdict.GRANTED:
            return answer
        if answer.verdict is Verdict.SHUT:
            raise GlobalError(answer.code or "GATE_SHUT", answer.message or "")
        if answer.verdict is not Verdict.BUSY or answer.wait > left / 2:
            raise _refusal(gate, WHY[answer.verdict], answer.wait)
        time.sleep(answer.wait)


def _refusal(gate: Gate, why: str, retry_in: float | None) -> UnavailableError:
    return UnavailableError("SERVICE_UNAVAILABLE", f"The {gate.service} service is not asked: {why}.", retry_in)
