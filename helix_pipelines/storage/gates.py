"""Gates as an operator sees and changes them; the algorithm is `resilience.gate` and its functions in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import MOST_CONCURRENCY, MOST_PER_MINUTE
from helix_pipelines.storage.queries import load

LEAST_PER_MINUTE = 0.0001
"""One request in a week. Below 1e-300 or so, the time between two requests is no number any more."""
CHOICES = {
    "requests_per_minute": (LEAST_PER_MINUTE, MOST_PER_MINUTE),
    "tokens_per_minute": (LEAST_PER_MINUTE, MOST_PER_MINUTE),
    "max_concurrency": (1, MOST_CONCURRENCY),
}
"""What an operator may choose -> from what to what."""


def list_gates(connection: psycopg.Connection, key: str | None = None) -> list[dict[str, Any]]:
    """Every gate, or the one of a key (hex): its limits by origin, and how its breaker stands.

    `state` is closed, open, half_open, or shut where an operator has to act; limits are per minute, None where there is none.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(load("gate_list"), {"key": key}).fetchall()


def choose_limits(connection: psycopg.Connection, key: str, limits: Mapping[str, float | None]) -> dict[str, Any]:
    """Set an operator's limits by name (`CHOICES`); None gives the word back to the settings. Returns the gate.

    Raises UsageError (LIMIT_INVALID): every process reads what is stored here, and an infinite number stops them all.
    """
    for name, value in limits.items():
        least, most = CHOICES[name]
        if value is not None and not least <= value <= most:  # NaN is not between anything
            raise UsageError(
                "LIMIT_INVALID", f"{name} cannot be {value}: choose from {least:,} to {most:,}, or 0 for none."
            )
    columns = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(f"chosen_{name}"), sql.Placeholder(name)) for name in limits
    )
    statement = sql.SQL("UPDATE helix.gate SET {} WHERE id = {}").format(columns, sql.Placeholder("key"))
    connection.execute(statement, {**limits, "key": key})
    return list_gates(connection, key)[0]


def reset_breaker(connection: psycopg.Connection, key: str) -> dict[str, Any]:
    """Close a gate's breaker, forget what shut or blocked it, and make its deferred batches due. Returns the gate."""
    connection.execute(load("gate_reset"), {"key": key})
    return list_gates(connection, key)[0]


def reopen_shut(connection: psycopg.Connection, key: bytes) -> bool:
    """Let requests through again where the gate was shut until an operator acts; whether it was."""
    is_shut = connection.execute(
        "SELECT FROM helix.gate WHERE key_hash = %s AND shut_code IS NOT NULL", [key]
    ).fetchone()
    if is_shut is not None:
        reset_breaker(connection, key.hex())
    return is_shut is not None
