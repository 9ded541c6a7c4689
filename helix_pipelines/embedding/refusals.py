"""What a refusal of an embedding service means: whose fault it is, and what to do about it.

Messages are our own words and the service's machine-readable identifiers. Its free text is never repeated, as services
quote keys (401) and texts (422) in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from helix_pipelines.resilience.errors import (
    GlobalError,
    HelixError,
    ItemError,
    LimitedError,
    TooLargeError,
    TransientError,
)
from helix_pipelines.resilience.rate_headers import read_rate_headers
from helix_pipelines.resilience.retry import retry_after

ITEM = frozenset({400, 413, 422})
TRANSIENT = frozenset({302, 303, 307, 408, 409, 425})
"""Temporary redirects are what proxies answer while the service behind them is away."""
QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
RELAYED = "llm_provider-"
"""The litellm proxy puts this before the wait that it asks for: it says `llm_provider-retry-after`, for limits of its own too."""
WAITS = ("retry-after", "retry-after-ms")
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
HAS_TO_ACT = "No embedding request is sent until that is put right."


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than 200: `body` may be cut short, may be HTML, may be nothing. `now` is Unix time."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    now: float


def refusal_error(refusal: Refusal, where: str, model: str) -> HelixError:
    """The error to raise for `refusal`; `where` is the address without credentials, `model` the name that was asked
    for.
    """
    reason = _Reason.of(refusal.body)
    said = f"HTTP {refusal.status}{reason.words()} from {where}"
    if refusal.status == 429 and not reason.names(QUOTA):  # noqa: PLR2004 - HTTP statuses are their own names
        rate = read_rate_headers(refusal.headers)
        wait = _asked_wait(refusal)
        message = f"The embedding service asks for patience ({said})."
        return LimitedError("EMBEDDING_LIMITED", message, rate.reset if wait is None else wait, rate)
    if refusal.status in ITEM:
        return _item_error(refusal.status, reason, said, model)
    if refusal.status in TRANSIENT or refusal.status >= 500 or refusal.status < 300:  # noqa: PLR2004 - HTTP statuses
        return TransientError("EMBEDDING_SERVICE_FAILED", f"The embedding service failed ({said}). It is asked again.")
    return _global_error(refusal.status, reason, said, model)


def _asked_wait(refusal: Refusal) -> float | None:
    """Seconds for which the service, or else the one behind a proxy, asks to be left alone."""
    own = retry_after(refusal.headers, refusal.now)
    if own is not None:
        return own
    relayed = {name: said for name in WAITS if (said := refusal.headers.get(RELAYED + name)) is not None}
    return retry_after(relayed, refusal.now)


@dataclass(frozen=True, slots=True)
class _Reason:
    """The identifiers of an error body in the shape of OpenAI's or FastAPI's; empty for any other."""

    code: str
    kind: str
    param: str
    mentions_context: bool

    @classmethod
    def of(cls, body: bytes) -> _Reason:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        error = answer.get("error")
        error = error if isinstance(error, dict) else answer
        message = error.get("message")
        return cls(
            code=_identifier(error.get("code")),
            kind=_identifier(error.get("type")),
            param=_identifier(error.get("param")) or _location(answer.get("detail")),
            mentions_context=isinstance(message, str) and "maximum context length" in message,
        )

    def names(self, identifiers: frozenset[str]) -> bool:
        return self.code in identifiers or self.kind in identifiers

    def words(self) -> str:
        known = [name for name in dict.fromkeys((self.code, self.kind, self.param)) if name]
        return f" {', '.join(known)}" if known else ""


def _identifier(value: Any) -> str:
    """`code` may be null, a number or a sentence: only what looks like a name is taken."""
    return value if isinstance(value, str) and IDENTIFIER.fullmatch(value) else ""


def _location(detail: Any) -> str:
    """The field that a FastAPI server complains about: `{"detail": [{"loc": ["body", "dimensions"], ...}]}`."""
    first = detail[0] if isinstance(detail, list) and detail else None
    path = first.get("loc") if isinstance(first, dict) else None
    return _identifier(path[-1]) if isinstance(path, list) and path else ""


def _item_error(status: int, reason: _Reason, said: str, model: str) -> HelixError:
    if reason.param == "dimensions":
        return GlobalError(
            "EMBEDDING_DIMENSIONS_REFUSED",
            f"The embedding service does not offer these dimensions for {model} ({said}). Correct or remove"
            f" HELIX_EMBEDDING_DIMENSIONS. {HAS_TO_ACT}",
        )
    if reason.param == "model" or reason.names(frozenset({"model_not_found"})):
        return _unknown_model(said, model)
    if reason.names(QUOTA):
        return _no_quota(said)
    if status == 413:  # noqa: PLR2004 - HTTP statuses are their own names
        return TooLargeError("PAYLOAD_TOO_LARGE", f"The request is larger than the embedding service accepts ({said}).")
    if reason.names(frozenset({"context_length_exceeded", "string_above_max_length"})) or reason.mentions_context:
        return ItemError("EMBEDDING_TEXT_TOO_LONG", f"A text is longer than the model {model} accepts ({said}).")
    return ItemError("EMBEDDING_TEXT_REFUSED", f"The embedding service refuses a text of the request ({said}).")


def _global_error(status: int, reason: _Reason, said: str, model: str) -> GlobalError:
    if status in {402, 429}:
        return _no_quota(said)
    if status in {401, 403, 407}:
        return GlobalError(
            "EMBEDDING_UNAUTHORIZED",
            f"The embedding service refuses the key ({said}). Set HELIX_EMBEDDING_API_KEY to a key that may use"
            f" {model}."
            f" {HAS_TO_ACT}",
        )
    if reason.names(frozenset({"model_not_found"})) or reason.param == "model":
        return _unknown_model(said, model)
    if status in {301, 308}:
        return GlobalError(
            "EMBEDDING_MOVED",
            f"The embedding service has another address ({said}); redirects are not followed, as they would carry the"
            f" key"
            f" along. Set HELIX_EMBEDDING_URL to the new address. {HAS_TO_ACT}",
        )
    return GlobalError(
        "EMBEDDING_ENDPOINT_UNKNOWN",
        f"Nothing there answers OpenAI's embedding requests for the model {model} ({said}). Check"
        f" HELIX_EMBEDDING_URL, which"
        f" usually ends in /v1, and HELIX_EMBEDDING_MODEL. {HAS_TO_ACT}",
    )


def _unknown_model(said: str, model: str) -> GlobalError:
    return GlobalError(
        "EMBEDDING_MODEL_UNKNOWN",
        f"The embedding service does not serve the model {model} ({said}). Set HELIX_EMBEDDING_MODEL to one that it"
        f" serves."
        f" {HAS_TO_ACT}",
    )


def _no_quota(said: str) -> GlobalError:
    return GlobalError(
        "EMBEDDING_QUOTA_EXHAUSTED",
        f"The account of the embedding service has no quota left ({said}). Raise its limit or check its billing."
        f" {HAS_TO_ACT}",
    )
