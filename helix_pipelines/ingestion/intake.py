"""The first phase: every file of a batch is fingerprinted, stored by content and recognised, or rejected with a reason."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.ingestion.archives import Member, store_members
from helix_pipelines.ingestion.fingerprint import Fingerprint, fingerprint
from helix_pipelines.ingestion.inbox import release_file
from helix_pipelines.ingestion.sniff import Sniffed, sniff
from helix_pipelines.ingestion.source_file import (
    FileChangedError,
    changed_in_hand,
    changed_in_inbox,
    reading,
    refuse_unfinished,
    state_of,
)
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError, TransientError
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.failures import passing_failure
from helix_pipelines.storage.imports import FileLine, ImportJob, add_member, file_lines, list_imports, reject_import
from helix_pipelines.storage.leases import BatchWork, Place
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import ImportState

ARCHIVE = "zip"
READINGS = 3
"""How often a file that somebody hands over is read before it counts as being written to: saving one takes a moment."""


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What was taken in: every file of the batch, and how long it took in seconds."""

    files: list[FileLine]
    seconds: float


def take_in(database: Database, batch: BatchWork, store: ContentStore, limits: ParseLimits) -> IntakeReport:
    """Take in the files of a batch that are still pending; a bad one is rejected and never fails its neighbours."""
    started = monotonic()
    while pending := _pending(database, batch):  # again, as the files of an archive join the batch
        for job in pending:
            batch.place = Place(job.id, job.path)
            _take_in_file(database, batch, job, store, limits)
    with database.transaction() as connection:
        return IntakeReport(file_lines(connection, batch.id), monotonic() - started)


def _pending(database: Database, batch: BatchWork) -> list[ImportJob]:
    with database.transaction() as connection:
        return list_imports(connection, batch.id, [ImportState.PENDING])


def _take_in_file(
    database: Database, batch: BatchWork, job: ImportJob, store: ContentStore, limits: ParseLimits
) -> None:
    try:
        mark = _stored(job, store, limits)
        sniffed = sniff(lambda: store.open(mark.sha256), Path(job.path).name, limits, job.encoding)
        check_purpose(sniffed, is_member=job.archive_id is not None, is_replay=job.replay_of is not None)
        if sniffed.format == ARCHIVE:
            members = _members(job, mark, store, limits)
            batch.commit(database, lambda connection: _unpack(connection, job, mark, members))
        else:
            batch.commit(database, lambda connection: _record(connection, job, mark, sniffed))
    except FileChangedError as error:  # released first: a kill between the two has it taken twice, and not never
        batch.commit(database, lambda connection: release_file(connection, job.id))
        reject_import(database, batch, job.id, error)
    except FileRejectedError as error:
        _raise_what_passes(job, error)
        reject_import(database, batch, job.id, error)


def _raise_what_passes(job: ImportJob, error: FileRejectedError) -> None:
    """Raise TransientError where the file seems damaged only because the store's disk or network failed while it was read."""
    failure = passing_failure(error)
    if failure is not None:
        message = f"What is stored of {Path(job.path).name} cannot be read now ({failure.message}). {failure.advice}"
        raise TransientError(failure.code, message) from error


def _stored(job: ImportJob, store: ContentStore, limits: ParseLimits) -> Fingerprint:
    """Put the file into the store; a member of an archive is there already.

    Only the inbox records a file's size before that: when it changed since, the inbox takes it again.
    """
    if job.archive_id is not None:
        assert job.sha256 is not None
        assert job.bytes is not None
        return Fingerprint(job.sha256, job.bytes)
    path = Path(job.path)
    if job.bytes is None:
        return _stored_at_rest(path, store, limits, READINGS, changed_in_hand(path, READINGS))
    refuse_unfinished(path, job.bytes, time())
    return _stored_at_rest(path, store, limits, 1, changed_in_inbox(path))


def _stored_at_rest(
    path: Path, store: ContentStore, limits: ParseLimits, readings: int, changed: FileChangedError
) -> Fingerprint:
    """Store the file and return its fingerprint. Raises `changed` if somebody wrote to it each time that it was read for that."""
    for _ in range(readings):
        before = state_of(path)
        mark = read_mark(path, limits)
        with suppress(FileChangedError):
            store.put(path, mark.sha256)
            if state_of(path) == before:
                return mark
    raise changed


def _members(job: ImportJob, mark: Fingerprint, store: ContentStore, limits: ParseLimits) -> list[Member]:
    with store.open(mark.sha256) as binary:
        members = store_members(binary, store, limits)
    for member in members:
        if member.refusal is not None:
            _raise_what_passes(job, member.refusal)
    return members


def check_purpose(sniffed: Sniffed, *, is_member: bool, is_replay: bool) -> None:
    """Refuse what may be a file of its own, or only that.

    Corrections mean rows of one import; as a file of their own their numbers would be those of no file at all. Archives in
    archives are how small files become endless ones.

    Raises FileRejectedError: ARCHIVE_IN_ARCHIVE, CORRECTIONS_MISPLACED.
    """
    if sniffed.format == ARCHIVE and is_member:
        raise FileRejectedError(
            "ARCHIVE_IN_ARCHIVE", "The file is an archive inside an archive: hand it over by itself."
        )
    if sniffed.format == "corrections" and not is_replay:
        raise FileRejectedError(
            "CORRECTIONS_MISPLACED",
            "The file holds corrections of quarantined rows: bring in the corrected export by `helix quarantine replay`.",
        )


def read_mark(path: Path, limits: ParseLimits) -> Fingerprint:
    """A file's fingerprint.

    Raises FileRejectedError (FILE_MISSING, FILE_UNREADABLE, FILE_TOO_LARGE), or TransientError where its disk or drive fails.
    """
    state_of(path)  # before it is opened: that of a named pipe would wait for a writer
    with reading(path):
        mark = fingerprint(path)
    if mark.bytes > limits.file_bytes:
        raise FileRejectedError(
            "FILE_TOO_LARGE",
            f"{path.name} has {mark.bytes:,} bytes, more than the {limits.file_bytes:,} that are allowed: split it, or raise"
            " HELIX_MAX_FILE_BYTES.",
        )
    return mark


def _unpack(connection: psycopg.Connection, job: ImportJob, mark: Fingerprint, members: list[Member]) -> None:
    """The archive is done with; its members join the batch as imports that are read as it was to be read."""
    for member in members:
        add_member(connection, job, member.path, member.sha256, member.bytes, member.refusal)
    connection.execute(
        "UPDATE helix.import_job SET state = 'unpacked', sha256 = %s, bytes = %s, format = %s, finished_at = now() WHERE id = %s",
        [mark.sha256, mark.bytes, ARCHIVE, job.id],
    )


def _record(connection: psycopg.Connection, job: ImportJob, mark: Fingerprint, sniffed: Sniffed) -> None:
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
