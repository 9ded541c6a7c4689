"""What a gate is told of its service: its name and its limits. Loads nothing, as every command knows where its services are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What the settings say of a service. None means no such limit; tokens and requests are per minute.

    `period_seconds` is the window in which the service counts. `probe_cap_seconds` is the longest wait between two looks at a
    service that does not answer.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int = 5
    period_seconds: float = 60.0
    tokens_per_day: int | None = None
    failure_threshold: int = 5
    probe_cap_seconds: float = 60.0


def gate_key(address: str, api_key: str | None) -> bytes:
    """The name of the gate of an upstream key: neither key nor address can be read from it."""
    return hashlib.blake2b(f"{address.rstrip('/')}\n{api_key or ''}".encode(), digest_size=16).digest()
