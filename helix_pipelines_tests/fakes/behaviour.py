"""How the fake embedding service answers: what its command line, `running_fake` and POST `/faults` set."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

MAX_TEXTS = 2048
"""Of one request, as OpenAI's service has it."""

LimitKind = Literal["sliding", "fixed", "bucket"]
RetryAfterForm = Literal["seconds", "date", "ms", "both", "none"]


class Behaviour(msgspec.Struct, kw_only=True):
    """How the service answers. Times are seconds; probabilities add up to 1 at most, as a request has one fault."""

    dimensions: int = 384
    latency: float = 0.0
    """Of every answer, good or bad."""
    per_text: float = 0.0
    latency_sigma: float = 0.0
    """Spread of a lognormal factor with median 1 on the two above; 0.5 makes the slowest in a hundred 3.2 times slower."""
    api_key: str | None = None
    model: str | None = None
    """The only model served; None serves any name."""

    status: int | None = None
    """Answer this status instead of vectors ..."""
    status_requests: int | None = None
    """... to so many more requests; None is all of them."""
    status_code: str | None = None
    """`error.code` of that answer."""
    retry_after: str | None = None
    """The `Retry-After` header of that answer."""
    insufficient_quota: bool = False
    """Refuse everything with OpenAI's 429 for an account without money, which no waiting cures."""

    poison: str | None = None
    """A request with this anywhere in a text is refused as a whole with 400."""
    max_texts: int = MAX_TEXTS
    """More texts in a request are refused with 413."""
    max_request_tokens: int | None = None
    """More tokens in a request are refused with 413."""
    ignores_base64: bool = False
    refuses_base64: bool = False
    ignores_dimensions: bool = False

    rpm: int | None = None
    """Requests in `limit_period`; None is no limit."""
    tpm: int | None = None
    """Tokens in `limit_period`, counted when a request arrives."""
    limit_period: float = 60.0
    limit_kind: LimitKind = "sliding"
    burst_requests: int | None = None
    """What a full bucket holds; None is `rpm`. The two other kinds have no burst."""
    burst_tokens: int | None = None
    max_in_flight: int | None = None
    """Requests worked on at the same time; the next is refused with 429."""
    retry_after_form: RetryAfterForm = "seconds"
    """How a limit says when to come again; `both` is `Retry-After` in seconds and `retry-after-ms`."""
    limit_headers: Literal["always", "refused", "never"] = "always"
    """Which answers carry `x-ratelimit-*`."""

    seed: int = 0
    """Of the faults below, drawn in the order of arrival; another one begins another sequence."""
    p_error: float = 0.0
    error_status: int = 500
    p_html: float = 0.0
    """An error page of a proxy."""
    html_status: int = 502
    p_hang: float = 0.0
    """No answer until the client leaves."""
    p_slow: float = 0.0
    """A right answer, `slow_seconds` late."""
    slow_seconds: float = 1.0
    p_cut: float = 0.0
    """The connection ends in the middle of the body."""
    p_truncated: float = 0.0
    """The JSON ends in the middle."""
    p_wrong_count: float = 0.0
    """One vector too few or too many."""
    p_wrong_order: float = 0.0
    """A right answer by `index`, in another order."""
    p_duplicated_index: float = 0.0
    p_wrong_dimensions: float = 0.0
    p_nan: float = 0.0
    """One number of one vector is not a number."""
    p_zero: float = 0.0
    """One vector is zero."""

    def __post_init__(self) -> None:
        """Refuse with ValueError what cannot be."""
        probabilities = self.probabilities()
        if min(probabilities.values()) < 0 or math.fsum(probabilities.values()) > 1:
            raise ValueError("the probabilities of faults are 0 or more and add up to 1 at most")
        if self.limit_period <= 0:
            raise ValueError("limit_period is more than 0 s")

    def probabilities(self) -> dict[str, float]:
        """Of each kind of fault, such as `wrong_count`."""
        names = [name for name in self.__struct_fields__ if name.startswith("p_")]
        return {name.removeprefix("p_"): getattr(self, name) for name in names}
