"""What a batch says about the run that works on it: whether its lease holds, and which process has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg

from helix_pipelines.storage.holders import Holder, Verdict
from helix_pipelines.storage.queries import load

UNKNOWN_SECONDS = 60.0
"""Since a lease lapsed, after which a holder that cannot be seen from here counts as gone: a living one renews it every 5 s, and
one that is cut off from the database can do no harm, as nothing that it writes is committed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's hold on its batch. `lapsed` is the seconds since its lease ended, below zero while it lasts, None without one."""

    partition_key: str
    holder: Holder | None
    lapsed: float | None

    @property
    def is_leased(self) -> bool:
        """Whether the run was heard of lately: then it lives, whatever anybody else says."""
        return self.lapsed is not None and self.lapsed < 0

    def verdict(self) -> Verdict:
        """Whether the process that holds the batch lives."""
        if self.is_leased:
            return Verdict.ALIVE
        if self.holder is None:
            return Verdict.UNKNOWN
        return judged(self.holder, self.lapsed)


def judged(holder: Holder, lapsed: float | None) -> Verdict:
    """Whether a holder lives whose lease ended `lapsed` seconds ago (None: at no known time)."""
    verdict = holder.verdict()
    if verdict is Verdict.UNKNOWN and lapsed is not None and lapsed > UNKNOWN_SECONDS:
        return Verdict.GONE
    return verdict


def claim_of_run(connection: psycopg.Connection, run_id: str) -> Claim | None:
    """What the batch says that the run works on; None for a run without one: it has not begun, has ended, or imports nothing."""
    row = connection.execute(load("claim_of_run"), [run_id]).fetchone()
    if row is None:
        return None
    partition_key, holder, lapsed = row
    return Claim(partition_key, stored_holder(holder), lapsed)


def stored_holder(stored: Any) -> Holder | None:
    """The holder as a batch has it; None where there is none, or one that another version has written."""
    if stored is None:
        return None
    try:
        return msgspec.convert(stored, Holder)
    except msgspec.ValidationError:
        return None
