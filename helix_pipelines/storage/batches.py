"""Import batches: how one comes to be and how its state changes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines import __version__
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.positions import end_of_queue
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.queue import lock_queue
from helix_pipelines.storage.states import BatchState

Mode = Literal["append", "sync"]
SLUG_LENGTH = 40


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What a person may choose for a batch; stored with it, overridden from Dagster's launchpad."""

    category_map: Mapping[str, str] = field(default_factory=dict)
    """Category as files have it (case-insensitive) -> category as the knowledge base has it."""
    default_category: str | None = None
    """For rows without a category."""
    drop_limit: float = 0.3
    """`sync` stops if a larger share of a source's rows would vanish (0..1)."""
    max_texts_per_request: int = 200
    """Upper bound of an embedding request's size."""

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> BatchSettings:
        """Read it back; keys of other versions are ignored."""
        return cls(**{key: stored[key] for key in cls.__dataclass_fields__ if key in stored})


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One file to import: where it lies, which source it continues, and what was said about its form."""

    path: str
    collection: str
    source: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = "append"
    encoding: str | None = None
    sheets: tuple[str, ...] = ()
    """Sheets of a workbook to be read, by name; none means all that are visible."""
    replay_of: int | None = None
    """The import whose quarantined rows this file corrects."""


def partition_key(name: str, now: datetime) -> str:
    """`YYYYMMDD-HHMMSS-<slug>-<8 hex>`; only `[a-z0-9-]`, as other characters break Dagster's UI."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:SLUG_LENGTH].strip("-") or "batch"
    return f"{now:%Y%m%d-%H%M%S}-{slug}-{secrets.token_hex(4)}"


def create_batch(
    connection: psycopg.Connection,
    name: str,
    files: Sequence[FileRequest],
    settings: BatchSettings,
    *,
    state: BatchState | str = BatchState.QUEUED,
    priority: int = 0,
) -> str:
    """Record a batch with its files, in the order given, and return its partition key.

    A `queued` batch goes behind all others of its priority; those of a higher one are launched first.
    """
    if not files:
        raise UsageError("BATCH_EMPTY", "A batch needs at least one file.")
    key = partition_key(name, datetime.now(UTC))
    position = None
    if state == BatchState.QUEUED:
        lock_queue(connection)
        position = end_of_queue(connection)
    batch = connection.execute(
        "INSERT INTO helix.import_batch (partition_key, name, config, state, position, priority)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
        [key, name, Jsonb(settings.to_json()), str(state), position, priority],
    ).fetchone()
    assert batch is not None
    for file in files:
        _add_file(connection, batch[0], file)
    connection.execute(
        "INSERT INTO helix.event (kind, batch_id, payload) VALUES ('batch.created', %s, %s)",
        [batch[0], Jsonb({"batch": key, "files": len(files)})],
    )
    return key


def mark_launched(connection: psycopg.Connection, key: str) -> None:
    """Move a batch to `launched` because its run is about to be started, unless one is under way or it is finished.

    One that had failed or was paused is taken up by a person: its tries are counted anew.
    """
    connection.execute(
        "UPDATE helix.import_batch SET state = 'launched', error = NULL, position = NULL, launched_at = clock_timestamp(),"
        " retry_at = NULL, finished_at = NULL,"
        " fruitless = CASE WHEN state IN ('error', 'paused') THEN 0 ELSE fruitless END"
        " WHERE partition_key = %s AND state IN ('queued', 'deferred', 'paused', 'error')",
        [key],
    )


def _add_file(connection: psycopg.Connection, batch_id: int, file: FileRequest) -> None:
    source = connection.execute(load("name_source"), {"collection": file.collection, "source": file.source}).fetchone()
    assert source is not None
    connection.execute(
        "INSERT INTO helix.import_job (batch_id, source_id, path, mapping, sheets, encoding, mode, replay_of, pipeline_version)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            batch_id,
            source[0],
            file.path,
            Jsonb(dict(file.mapping)),
            Jsonb(list(file.sheets)),
            file.encoding,
            file.mode,
            file.replay_of,
            __version__,
        ],
    )
