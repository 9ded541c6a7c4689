"""How far a phase of an import is; written in the transaction of the work that it covers."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`records` are consumed and `chunk` chunks committed, as counted by a reader or algorithm of `version`."""

    records: int
    chunk: int
    version: str


def read_checkpoint(connection: psycopg.Connection, import_id: int, phase: str) -> Checkpoint | None:
    """Where the phase stopped, None if it never committed anything."""
    row = connection.execute(
        "SELECT records, chunk, reader_version FROM helix.checkpoint WHERE import_job_id = %s AND phase = %s",
        [import_id, phase],
    ).fetchone()
    return Checkpoint(*row) if row else None


def write_checkpoint(connection: psycopg.Connection, import_id: int, phase: str, checkpoint: Checkpoint) -> None:
    """Record progress; the caller's transaction makes it true together with the rows."""
    connection.execute(
        "INSERT INTO helix.checkpoint (import_job_id, phase, records, chunk, reader_version) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (import_job_id, phase) DO UPDATE SET records = EXCLUDED.records, chunk = EXCLUDED.chunk,"
        " reader_version = EXCLUDED.reader_version, updated_at = now()",
        [import_id, phase, checkpoint.records, checkpoint.chunk, checkpoint.version],
    )
