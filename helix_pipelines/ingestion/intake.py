"""The first phase: every file of a batch is fingerprinted, stored by content and recognised, or rejected with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.ingestion.fingerprint import Fingerprint, fingerprint
from helix_pipelines.ingestion.sniff import Sniffed, sniff
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import FileLine, ImportJob, file_lines, list_imports, reject_import
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import ImportState
from helix_pipelines.storage.transactions import run_chunk


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What was taken in: every file of the batch, and how long it took in seconds."""

    files: list[FileLine]
    seconds: float


def take_in(database: Database, batch: BatchWork, store: ContentStore, limits: ParseLimits) -> IntakeReport:
    """Take in the files of a batch that are still pending; a bad one is rejected and never fails its neighbours."""
    started = monotonic()
    with database.transaction() as connection:
        pending = list_imports(connection, batch.id, [ImportState.PENDING])
    for job in pending:
        _take_in_file(database, batch, job, store, limits)
    with database.transaction() as connection:
        return IntakeReport(file_lines(connection, batch.id), monotonic() - started)


def _take_in_file(
    database: Database, batch: BatchWork, job: ImportJob, store: ContentStore, limits: ParseLimits
) -> None:
    try:
        mark = _read(Path(job.path), limits)
        store.put(Path(job.path), mark.sha256)
        sniffed = sniff(lambda: store.open(mark.sha256), Path(job.path).name, limits, job.encoding)
    except FileRejectedError as error:
        reject_import(database, batch, job.id, error)
    else:
        run_chunk(database, lambda connection: _record(connection, batch, job, mark, sniffed))


def _read(path: Path, limits: ParseLimits) -> Fingerprint:
    try:
        if not path.is_file():
            raise FileRejectedError(
                "FILE_MISSING", f"{path.name} is not there any more, or is not a file: hand it over again."
            )
        mark = fingerprint(path)
    except PermissionError as error:
        raise FileRejectedError(
            "FILE_UNREADABLE", f"{path.name} cannot be read: give the account that runs Helix the right to read it."
        ) from error
    except OSError as error:
        raise FileRejectedError("FILE_UNREADABLE", f"{path.name} cannot be read: {error.strerror}.") from error
    if mark.bytes > limits.file_bytes:
        raise FileRejectedError(
            "FILE_TOO_LARGE",
            f"{path.name} has {mark.bytes:,} bytes, more than the {limits.file_bytes:,} that are allowed: split it, or raise"
            " HELIX_MAX_FILE_BYTES.",
        )
    return mark


def _record(
    connection: psycopg.Connection, batch: BatchWork, job: ImportJob, mark: Fingerprint, sniffed: Sniffed
) -> None:
    connection.execute(
        load("intake_record"),
        {
            "id": job.id,
            "sha256": mark.sha256,
            "bytes": mark.bytes,
            "format": sniffed.format,
            "encoding": sniffed.encoding,
            "dialect": Jsonb(msgspec.to_builtins(sniffed)),
        },
    )
    batch.lease.fence(connection)
