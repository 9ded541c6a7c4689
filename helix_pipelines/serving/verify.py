"""The promise as queries: each check counts what contradicts it; a knowledge base is sound when all count nothing."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from helix_pipelines.storage.queries import load

CHECKS = {
    "ledger_adds_up": "the counters of every import agree with its ledger lines",
    "completed_has_no_pending": "no completed import has rows that were not decided",
    "ledger_has_pairs": "every accepted ledger line names a pair of its collection",
    "occurrences_follow_ledger": "every occurrence says what the latest standing ledger line of its row says",
    "accepted_rows_have_occurrences": "every accepted row that was not closed has an occurrence",
    "served_has_vectors": "every served pair has all its vectors in the active generation",
    "unserved_is_explained": "every decided pair that is not served has a pending or failed text, or an unfinished import",
    "vectors_fit_generation": "every vector has its generation's dimensions",
}
"""Name of a check (and of its statement, `verify_<name>`) -> what holds if it counts nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `violations` counted, and `detail` says what holds or where to look first."""

    check: str
    ok: bool
    violations: int
    detail: str


def verify(connection: psycopg.Connection) -> list[Finding]:
    """Run all checks in one snapshot, so that a running import cannot make them disagree."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [_run(connection, check, meaning) for check, meaning in CHECKS.items()]


def _run(connection: psycopg.Connection, check: str, meaning: str) -> Finding:
    row = connection.execute(load(f"verify_{check}"), {"batch": None}).fetchone()
    assert row is not None
    violations, example = row
    detail = meaning if not violations else f"does not hold: {meaning}; {violations:,} violations, first: {example}"
    return Finding(check, violations == 0, violations, detail)
