"""What a service says about its limits beside its answers: the `x-ratelimit-*` headers, as OpenAI documents them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

UNIT_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+")
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
LARGEST = 1e12
"""No limit and no time is larger than this; a header that says so is not believed."""


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """Limits and what remains of them, in requests and tokens of the service's period; None where it does not say.

    `reset` is the seconds until what is used up (requests or tokens) is there again.
    """

    limit_requests: float | None = None
    remaining_requests: float | None = None
    limit_tokens: float | None = None
    remaining_tokens: float | None = None
    reset: float | None = None


NO_HEADERS = RateHeaders()


def read_rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """Read the limits from an answer; `headers` finds its keys whatever their case. Nonsense counts as nothing said."""
    if not any(name.lower().startswith("x-ratelimit-") for name in headers):
        return NO_HEADERS
    remaining = {kind: _amount(headers.get(f"x-ratelimit-remaining-{kind}")) for kind in ("requests", "tokens")}
    resets = [
        seconds
        for kind in ("requests", "tokens")
        if remaining[kind] == 0 and (seconds := _duration(headers.get(f"x-ratelimit-reset-{kind}"))) is not None
    ]
    return RateHeaders(
        _amount(headers.get("x-ratelimit-limit-requests")),
        remaining["requests"],
        _amount(headers.get("x-ratelimit-limit-tokens")),
        remaining["tokens"],
        max(resets, default=None),
    )


def _amount(text: str | None) -> float | None:
    try:
        amount = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return _credible(amount)


def _duration(text: str | None) -> float | None:
    """Seconds of `6m0s`, `1s`, `20ms`, or of a bare number."""
    if text is None:
        return None
    if DURATION.fullmatch(text):
        return _credible(sum(float(number) * UNIT_SECONDS[unit] for number, unit in DURATION_PART.findall(text)))
    return _amount(text)


def _credible(amount: float) -> float | None:
    return amount if 0 <= amount <= LARGEST else None
