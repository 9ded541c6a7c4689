"""Replays in the database: who asked for which rows, and what becomes of them once the corrected ones are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.storage.queries import load


def record_replay(
    connection: psycopg.Connection, batch: str, import_id: int, rows: Mapping[str, Sequence[int]]
) -> None:
    """Write into the audit log which rows of an import a batch corrects; `rows` is sheet ("" without one) -> row numbers."""
    connection.execute(
        load("replay_audit"),
        {
            "batch": batch,
            "import_id": import_id,
            "count": sum(map(len, rows.values())),
            "rows": Jsonb({sheet: number_ranges(numbers) for sheet, numbers in rows.items()}),
        },
    )


def complete_replays(connection: psycopg.Connection, batch_id: int) -> None:
    """Mark the rows that a batch's completed replays brought in; those that were refused again stay as they are."""
    connection.execute(load("replay_complete"), {"batch": batch_id})


def carry_corrections(connection: psycopg.Connection, import_id: int, source_id: int) -> None:
    """Take refused records of an import for corrected that were corrected when an earlier import of the source had them."""
    connection.execute(load("replay_carry"), {"job": import_id, "source": source_id})


def number_ranges(numbers: Sequence[int]) -> str:
    """`2-4,9` for 2, 3, 4 and 9."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
