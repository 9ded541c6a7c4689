"""Positions in the queue: numbers of which only the order means anything, and between any two of which there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

import psycopg

from helix_pipelines.storage.queries import load

EXACT = Context(prec=16_383, rounding=ROUND_HALF_EVEN)
"""As many digits as PostgreSQL's NUMERIC has behind the point."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a batch stands: a higher priority comes first, then a lower position."""

    priority: int
    position: Decimal

    def precedes(self, other: Spot) -> bool:
        """Whether a batch here is launched before one there."""
        return (-self.priority, self.position) < (-other.priority, other.position)


def between(low: Decimal, high: Decimal) -> Decimal:
    """The number near the middle of two others that has the fewest digits; `low < high`.

    Halving adds a digit each time, this one in three or four: a script that puts all of 10,000 batches into another order, each
    behind the last, ends with positions of some 3,000 digits, and an index takes 5,000.
    """
    gap = EXACT.subtract(high, low)
    middle = EXACT.divide(EXACT.add(low, high), Decimal(2))
    coarsest = gap.adjusted()
    for exponent in (coarsest, coarsest - 1):
        step = Decimal((0, (1,), exponent))
        rounded = EXACT.multiply(EXACT.to_integral_value(EXACT.divide(middle, step)), step)
        if low < rounded < high:
            return rounded
    return middle


def fitting_priority(own: int, before: Spot | None, after: Spot | None) -> int:
    """The priority nearest to its own with which a batch can stand between these two."""
    highest = own if before is None else min(own, before.priority)
    return highest if after is None else max(highest, after.priority)


def end_of_queue(connection: psycopg.Connection) -> Decimal:
    """A position behind all others; the caller has locked the queue."""
    return _position(connection, "queue_end")


def front_of_queue(connection: psycopg.Connection) -> Decimal:
    """A position before all others; the caller has locked the queue."""
    return _position(connection, "queue_front")


def spot_at(connection: psycopg.Connection, batch_id: int, own: Spot, place: int) -> Spot:
    """Where a queued batch has to stand to be at a place, 1 being the first: as near to its `own` spot as that allows.

    A place before the first or behind the last means the first or the last. The caller has locked the queue.
    """
    before, after = _neighbours(connection, batch_id, place)
    spot = Spot(fitting_priority(own.priority, before, after), own.position)
    if (before is None or before.precedes(spot)) and (after is None or spot.precedes(after)):
        return spot
    # The position has to differ from those of other priorities too, so the nearest of any priority is the other end.
    if before is None:
        position = front_of_queue(connection)
    elif after is None:
        position = end_of_queue(connection)
    elif spot.priority == before.priority:
        position = between(before.position, _nearest(connection, "queue_above", batch_id, before.position))
    else:
        position = between(_nearest(connection, "queue_below", batch_id, after.position), after.position)
    return Spot(spot.priority, position)


def _neighbours(connection: psycopg.Connection, batch_id: int, place: int) -> tuple[Spot | None, Spot | None]:
    """The batches that are to stand directly before and after the place."""
    queued = connection.execute("SELECT count(*) FROM helix.import_batch WHERE state = 'queued'").fetchone()
    assert queued is not None
    ahead = max(1, min(place, queued[0])) - 1
    rows = connection.execute(
        load("queue_neighbours"), {"batch": batch_id, "skipped": max(0, ahead - 1), "rows": min(ahead, 1) + 1}
    ).fetchall()
    around = [Spot(*row) for row in rows]
    before = around.pop(0) if ahead else None
    return before, around[0] if around else None


def _nearest(connection: psycopg.Connection, query: str, batch_id: int, position: Decimal) -> Decimal:
    return _position(connection, query, {"batch": batch_id, "position": position})


def _position(connection: psycopg.Connection, query: str, parameters: Mapping[str, object] | None = None) -> Decimal:
    row = connection.execute(load(query), parameters).fetchone()
    assert row is not None
    return Decimal(row[0])
