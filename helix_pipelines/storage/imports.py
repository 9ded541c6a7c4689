"""One file of a batch as the stages see it, and the few ways in which its record changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from helix_pipelines.resilience.errors import HelixError
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import ImportState

OUTCOMES = ("inserted", "updated", "unchanged", "duplicate", "quarantined")
"""The counters that, with `pending`, add up to `rows_read`."""


@dataclass(frozen=True, slots=True)
class ImportJob:
    """An import job's record."""

    id: int
    batch_id: int
    source_id: int
    collection_id: int
    path: str
    state: str
    sha256: str | None
    encoding: str | None
    dialect: Mapping[str, Any] | None
    mapping: Mapping[str, str]
    sheets: list[str]
    mode: str
    pipeline_version: str
    reader_version: str | None
    same_as: int | None
    replay_of: int | None
    archive_id: int | None
    bytes: int | None
    rows_read: int

    @property
    def ledger_id(self) -> int:
        """The import whose ledger lines speak for this file: another one where the bytes were the same."""
        return self.same_as or self.id


@dataclass(frozen=True, slots=True)
class FileLine:
    """What became of one file, for reports."""

    import_id: int
    path: str
    status: str
    rows_read: int
    inserted: int
    updated: int
    unchanged: int
    duplicate: int
    quarantined: int
    pending: int
    code: str | None
    message: str | None
    notes: Sequence[Mapping[str, str]] = ()


def list_imports(
    connection: psycopg.Connection, batch_id: int, states: Collection[ImportState] = tuple(ImportState)
) -> list[ImportJob]:
    """The files of a batch in the given states, in arrival order."""
    with connection.cursor(row_factory=class_row(ImportJob)) as cursor:
        return cursor.execute(
            "SELECT j.id, j.batch_id, j.source_id, s.collection_id, j.path, j.state, j.sha256, j.encoding, j.dialect, j.mapping,"
            " j.sheets, j.mode, j.pipeline_version, j.reader_version, j.same_as, j.replay_of,"
            " j.archive_id, j.bytes, j.rows_read"
            " FROM helix.import_job j JOIN helix.source s ON s.id = j.source_id"
            " WHERE j.batch_id = %s AND j.state = ANY (%s) ORDER BY j.arrival",
            [batch_id, [str(state) for state in states]],
        ).fetchall()


def file_lines(connection: psycopg.Connection, batch_id: int) -> list[FileLine]:
    """The counters of every file of a batch, in arrival order; archives stand for none, but their members do."""
    with connection.cursor(row_factory=class_row(FileLine)) as cursor:
        return cursor.execute(
            "SELECT id AS import_id, path, state AS status, rows_read, inserted, updated, unchanged, duplicate, quarantined,"
            " pending, error_code AS code, error_message AS message, notes"
            " FROM helix.import_job WHERE batch_id = %s AND state <> 'unpacked' ORDER BY arrival",
            [batch_id],
        ).fetchall()


def add_member(
    connection: psycopg.Connection,
    archive: ImportJob,
    path: str,
    sha256: str | None,
    size: int | None,
    refusal: HelixError | None,
) -> None:
    """Record a file of an archive as an import of its own, to be read in the same way; with a `refusal` it is rejected."""
    connection.execute(
        load("add_member"),
        {
            "archive": archive.id,
            "path": path,
            "sha256": sha256,
            "bytes": size,
            "code": refusal and refusal.code,
            "message": refusal and refusal.message,
        },
    )


def reject_import(database: Database, batch: BatchWork, import_id: int, error: HelixError) -> None:
    """Close a file as rejected, fenced: whatever was staged of it goes, so that its counters are all zero."""

    def reject(connection: psycopg.Connection) -> None:
        discard_rows(connection, import_id)
        connection.execute(
            "UPDATE helix.import_job SET state = 'rejected', error_code = %s, error_message = %s, finished_at = now()"
            " WHERE id = %s",
            [error.code, error.message, import_id],
        )

    batch.commit(database, reject)


def discard_rows(connection: psycopg.Connection, import_id: int) -> None:
    """Forget the staged rows of an import that has not been decided: ledger lines, texts, checkpoints and counters."""
    connection.execute("DELETE FROM helix.row_content WHERE import_job_id = %s", [import_id])
    connection.execute("DELETE FROM helix.import_row WHERE import_job_id = %s", [import_id])
    connection.execute("DELETE FROM helix.checkpoint WHERE import_job_id = %s", [import_id])
    connection.execute(
        "UPDATE helix.import_job SET rows_read = 0, inserted = 0, updated = 0, unchanged = 0, duplicate = 0,"
        " quarantined = 0 WHERE id = %s",
        [import_id],
    )
