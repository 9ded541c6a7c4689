"""Limits as services have them: requests and tokens in a period, and requests at the same time, with OpenAI's answers."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

from helix_pipelines_tests.fakes.answers import Answer, Header, error
from helix_pipelines_tests.fakes.behaviour import Behaviour, RetryAfterForm
from helix_pipelines_tests.fakes.meters import FixedWindow, Meter, SlidingWindow, TokenBucket


class Limits:
    """All limits of the service. What is in use is kept when a limit changes, and forgotten when its kind does."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.in_flight = 0
        """Requests admitted and not ended; who was admitted counts itself out."""
        self._behaviour = behaviour
        self._requests = _meter(behaviour, behaviour.rpm, behaviour.burst_requests)
        self._tokens = _meter(behaviour, behaviour.tpm, behaviour.burst_tokens)

    def change(self, behaviour: Behaviour) -> None:
        """Go by these limits from now on."""
        before, self._behaviour = self._behaviour, behaviour
        kept = _shape(before) == _shape(behaviour)
        self._requests = _changed(self._requests if kept else None, behaviour, behaviour.rpm, behaviour.burst_requests)
        self._tokens = _changed(self._tokens if kept else None, behaviour, behaviour.tpm, behaviour.burst_tokens)

    def admit(self, now: float, tokens: int) -> Answer | None:
        """Use the limits for one request of so many tokens, or give the refusal, which uses nothing."""
        behaviour = self._behaviour
        if behaviour.max_in_flight is not None and self.in_flight >= behaviour.max_in_flight:
            message = f"Too many requests at the same time: Limit {behaviour.max_in_flight}."
            return self._refusal(now, 1.0, "requests", message)
        requests_wait = self._requests.wait(now, 1) if self._requests else 0.0
        tokens_wait = self._tokens.wait(now, tokens) if self._tokens else 0.0
        if self._requests and requests_wait and requests_wait >= tokens_wait:
            return self._over(now, requests_wait, "requests", "RPM", self._requests, 1)
        if self._tokens and tokens_wait:
            return self._over(now, tokens_wait, "tokens", "TPM", self._tokens, tokens)
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            self._tokens.take(now, tokens)
        self.in_flight += 1
        return None

    def headers(self, now: float) -> tuple[Header, ...]:
        """`x-ratelimit-*` of an answer to an admitted request."""
        return self._standing(now) if self._behaviour.limit_headers == "always" else ()

    def _over(self, now: float, wait: float, kind: str, short: str, meter: Meter, cost: int) -> Answer:
        used = meter.limit - meter.remaining(now)
        message = (
            f"Rate limit reached for the model in organization org-fake on {kind} per min ({short}): "
            f"Limit {meter.limit}, Used {used}, Requested {cost}. Please try again in {in_units(wait)}."
        )
        return self._refusal(now, wait, kind, message)

    def _refusal(self, now: float, wait: float, kind: str, message: str) -> Answer:
        behaviour = self._behaviour
        standing = () if behaviour.limit_headers == "never" else self._standing(now)
        headers = retry_after(wait, behaviour.retry_after_form) + standing
        return error(429, message, "rate_limit_exceeded", headers, kind)

    def _standing(self, now: float) -> tuple[Header, ...]:
        requests = _standing_of(self._requests, b"requests", now) if self._requests else ()
        tokens = _standing_of(self._tokens, b"tokens", now) if self._tokens else ()
        return requests + tokens


def _meter(behaviour: Behaviour, limit: int | None, burst: int | None) -> Meter | None:
    if limit is None:
        return None
    match behaviour.limit_kind:
        case "sliding":
            return SlidingWindow(limit, behaviour.limit_period)
        case "fixed":
            return FixedWindow(limit, behaviour.limit_period)
        case "bucket":
            return TokenBucket(limit, behaviour.limit_period, burst)


def _changed(meter: Meter | None, behaviour: Behaviour, limit: int | None, burst: int | None) -> Meter | None:
    if meter is None or limit is None:
        return _meter(behaviour, limit, burst)
    meter.limit = limit
    return meter


def _shape(behaviour: Behaviour) -> tuple[object, ...]:
    return (behaviour.limit_kind, behaviour.limit_period, behaviour.burst_requests, behaviour.burst_tokens)


def _standing_of(meter: Meter, kind: bytes, now: float) -> tuple[Header, ...]:
    return (
        (b"x-ratelimit-limit-" + kind, b"%d" % meter.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % meter.remaining(now)),
        (b"x-ratelimit-reset-" + kind, in_units(meter.reset(now)).encode()),
    )


def retry_after(wait: float, form: RetryAfterForm) -> tuple[Header, ...]:
    """The headers that say when to come again, in `wait` seconds, rounded up to what their form can say."""
    milliseconds = (b"retry-after-ms", b"%d" % math.ceil(wait * 1000))
    seconds = (b"retry-after", b"%d" % math.ceil(wait))
    match form:
        case "seconds":
            return (seconds,)
        case "date":
            return ((b"retry-after", formatdate(math.ceil(time.time() + wait), usegmt=True).encode()),)
        case "ms":
            return (milliseconds,)
        case "both":
            return (milliseconds, seconds)
        case "none":
            return ()


def in_units(seconds: float) -> str:
    """A duration as OpenAI's headers have it: `20ms`, `1s`, `1.5s`, `6m0s`, `1h0m0s`; rounded up to milliseconds."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.10g}s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
