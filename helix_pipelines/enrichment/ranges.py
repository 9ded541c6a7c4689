"""Ranges of a 128-bit key space: work on a whole file is cut by key and not by row, so that no chunk size changes an outcome."""

from __future__ import annotations

import math
import uuid
from typing import NamedTuple

RANGE_ROWS = 30_000
"""Rows of a range on average: a transaction of one or two seconds."""
MAX_RANGES = 64
"""Each range scans the import's ledger lines once, so their number is bounded; beyond 1.3M rows ranges grow instead."""
_SPACE = 1 << 128


class KeyRange(NamedTuple):
    """Keys from `low` up to, not including, `high`; None is the end of the space."""

    low: uuid.UUID
    high: uuid.UUID | None


def key_ranges(rows: int) -> list[KeyRange]:
    """Equal ranges over the key space for an import of so many rows; keys are hashes, so rows spread evenly."""
    count = max(1, min(MAX_RANGES, math.ceil(rows / RANGE_ROWS)))
    edges = [uuid.UUID(int=_SPACE * index // count) for index in range(count)]
    return [KeyRange(low, high) for low, high in zip(edges, [*edges[1:], None], strict=True)]
