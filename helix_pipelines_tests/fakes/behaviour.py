"""How the fake embedding service answers, and what it counts: both are JSON on its control routes."""

from __future__ import annotations

import msgspec

MAX_TEXTS = 2048
"""Of one request, as OpenAI's service has it."""


class Behaviour(msgspec.Struct, kw_only=True):
    """How the service answers. Times are seconds."""

    dimensions: int = 384
    latency: float = 0.0
    per_text: float = 0.0
    api_key: str | None = None
    model: str | None = None
    """The only model served; None serves any name."""
    status: int | None = None
    """Answer this status instead of vectors ..."""
    status_requests: int | None = None
    """... to so many more requests; None is all of them."""
    status_code: str | None = None
    """`error.code` of that answer, such as `insufficient_quota`."""
    retry_after: str | None = None
    """The `Retry-After` header of that answer."""
    poison: str | None = None
    """A request with this anywhere in a text is refused as a whole with 400."""
    ignores_base64: bool = False
    refuses_base64: bool = False
    max_texts: int = MAX_TEXTS
    """More texts in a request are refused with 413."""


class Counters(msgspec.Struct, kw_only=True):
    """What the service has seen since its start or the last reset.

    `requests` counts every embedding request; the others only what was answered with vectors, which is what a client
    would have paid for. `texts_seen_twice` counts texts that had been answered before.
    """

    requests: int = 0
    answered: int = 0
    texts: int = 0
    tokens: int = 0
    texts_seen_twice: int = 0
    in_flight: int = 0
    in_flight_peak: int = 0
    statuses: dict[int, int] = msgspec.field(default_factory=dict)
