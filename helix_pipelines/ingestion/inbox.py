"""The inbox folder: list it within a time limit, tell which files have come to rest, seal those into queued batches.

A look at the inbox only reads names, sizes and times. Files are never moved or deleted: they belong to the people who put
them there. What was seen is kept in `inbox_file`, so that a file is taken once for each size and time it has had.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from helix_pipelines.ingestion.batching import BatchLimits, BatchPlan, InboxFile, is_due, plan_batches
from helix_pipelines.ingestion.folder_rules import RULES_FILE, Rules
from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.queries import load

UNFINISHED_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".filepart", ".swp")
"""What browsers, FTP clients and editors call a file that they are still writing."""
HIDDEN_PREFIXES = (".", "~$")
"""Hidden files, rsync's drafts, and the lock files of office programs."""
FILES_PER_LOOK = 2_000
"""Files sealed at a time: at 1.5 ms each that is 3 s of the 60 s that a sensor's tick may last; the next look goes on."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A look at the inbox, or at a part of it.

    `files` are in the order of their paths, folder by folder. `after` and `until` are the paths between which the listing is
    complete (None: from the start, to the end); a listing that ran out of time is continued after `until`.
    `problems` says what could not be read.
    """

    files: list[InboxFile]
    after: str | None
    until: str | None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as `inbox_file` remembers it; `seen_at` is since when it has had this size and time."""

    file: InboxFile
    seen_at: datetime
    taken: bool


@dataclass(frozen=True, slots=True)
class InboxChanges:
    """What a listing says beside what is known: files to remember, files at rest and not taken yet, files that are gone."""

    changed: list[InboxFile]
    stable: list[InboxFile]
    gone: list[str]
    settling: int
    waited: float
    """Seconds for which the longest waiting stable file has been ready."""


@dataclass(frozen=True, slots=True)
class InboxReport:
    """What a look at the inbox led to: the partition keys of sealed batches, and files still settling or waiting.

    `problems` are rules of folders that cannot be used, whose files wait.
    """

    batches: list[str]
    settling: int
    waiting: int
    problems: list[str]


def list_inbox(root: Path, *, after: str | None, deadline: float, clock: Callable[[], float]) -> Listing:
    """List the inbox from `after` on until the moment `deadline` of `clock`.

    Raises SetupError (INBOX_UNREADABLE) where the inbox itself cannot be read: a failed listing is not an empty inbox. A
    folder inside it that cannot be read is a problem of the listing. Links are not followed: they may lead anywhere.
    """
    listing: list[InboxFile] = []
    problems: list[str] = []
    try:
        for file in _walk(root, (), _parts(after), problems):
            listing.append(file)
            if clock() > deadline:
                return Listing(listing, after, file.path, problems)
    except OSError as error:
        raise SetupError(
            "INBOX_UNREADABLE",
            f"The inbox {root} cannot be listed ({error.strerror}): create or mount it, and let Helix read it.",
        ) from error
    return Listing(listing, after, None, problems)


def compare(listing: Listing, known: Sequence[KnownFile], now: datetime, stable_seconds: float) -> InboxChanges:
    """Set a listing against what is known; only a listing without problems can say that a file is gone."""
    remembered = {entry.file.path: entry for entry in known}
    changed: list[InboxFile] = []
    stable: list[InboxFile] = []
    settling = 0
    waited = 0.0
    for file in listing.files:
        entry = remembered.get(file.path)
        if entry is None or entry.file != file:
            changed.append(file)
        elif not entry.taken:
            quiet = (now - entry.seen_at).total_seconds() - stable_seconds
            if quiet >= 0:
                stable.append(file)
                waited = max(waited, quiet)
            else:
                settling += 1
    present = {file.path for file in listing.files}
    gone = [path for path in remembered if path not in present and _covers(listing, path)]
    return InboxChanges(changed, stable, gone, settling + len(changed), waited)


def take_stable_files(
    connection: psycopg.Connection, root: Path, listing: Listing, limits: BatchLimits, stable_seconds: float
) -> InboxReport:
    """Remember a listing and seal the files that are at rest into queued batches, all in the caller's transaction.

    Two sensors that look at the same time take turns. Time is the database's, so that hosts need not agree on it.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('helix.inbox'))")
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    changes = compare(listing, _known_files(connection), row[0], stable_seconds)
    _remember(connection, changes)
    if not is_due(changes.waited, changes.settling, limits):
        return InboxReport([], changes.settling, len(changes.stable), [])
    taken = changes.stable[:FILES_PER_LOOK]
    requests, problems = _requests(root, taken)
    ready = [file for file in taken if file.path in requests]
    keys = [_seal(connection, requests, plan) for plan in plan_batches(ready, limits)]
    return InboxReport(keys, changes.settling, len(changes.stable) - len(ready), problems)


def release_file(connection: psycopg.Connection, import_id: int) -> None:
    """Let the inbox take a file again, whose import found it being written to; a version that was taken since is left alone.

    Size and time alone do not tell: a copy in place that restores the time ends as it began.
    """
    connection.execute(
        "UPDATE helix.inbox_file SET import_job_id = NULL, seen_at = clock_timestamp() WHERE import_job_id = %s",
        [import_id],
    )


def _requests(root: Path, files: Sequence[InboxFile]) -> tuple[dict[str, FileRequest], list[str]]:
    """Path -> how to import the file, as its folders say; and what is wrong with folders whose files have to wait.

    A file that nobody spoke of continues the source that has its path in the inbox as a name.
    """
    rules = Rules(root)
    requests: dict[str, FileRequest] = {}
    problems: dict[str, None] = {}
    for file in files:
        try:
            fields = {"collection": file.collection, "source": file.path} | rules.chosen(file.path)
            requests[file.path] = FileRequest(str(root / file.path), **fields)
        except UsageError as error:
            problems[error.message] = None
    return requests, list(problems)


def _walk(folder: Path, place: tuple[str, ...], after: tuple[str, ...], problems: list[str]) -> Iterator[InboxFile]:
    """Files below `folder` in the order of their path's parts, without those up to `after`."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = (*place, entry.name)
        if path < after[: len(path)] or not _is_candidate(entry, path, problems):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), path, after, problems)
            elif entry.is_file(follow_symlinks=False) and path != after:
                status = entry.stat(follow_symlinks=False)
                yield InboxFile("/".join(path), status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            continue  # renamed or removed since the folder was listed: the next look sees where it went
        except OSError as error:
            problems.append(f"{'/'.join(path)}: {error.strerror}")


def _is_candidate(entry: os.DirEntry[str], path: tuple[str, ...], problems: list[str]) -> bool:
    if entry.name.startswith(HIDDEN_PREFIXES) or entry.name.lower().endswith(UNFINISHED_SUFFIXES):
        return False
    if entry.name == RULES_FILE:
        return False
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        problems.append(f"{'/'.join(path)!r}: the name is not UTF-8, rename the file")
        return False
    return True


def _parts(path: str | None) -> tuple[str, ...]:
    return tuple(path.split("/")) if path is not None else ()


def _covers(listing: Listing, path: str) -> bool:
    """Whether the file would be in the listing if it were still there."""
    if listing.problems:
        return False
    parts = _parts(path)
    return parts > _parts(listing.after) and (listing.until is None or parts <= _parts(listing.until))


def _known_files(connection: psycopg.Connection) -> list[KnownFile]:
    rows = connection.execute(
        "SELECT path, bytes, modified_ns, seen_at, import_job_id IS NOT NULL FROM helix.inbox_file"
    ).fetchall()
    return [KnownFile(InboxFile(path, size, modified), seen_at, taken) for path, size, modified, seen_at, taken in rows]


def _remember(connection: psycopg.Connection, changes: InboxChanges) -> None:
    if changes.changed:
        connection.execute(
            load("inbox_remember"),
            {
                "paths": [file.path for file in changes.changed],
                "bytes": [file.bytes for file in changes.changed],
                "modified": [file.modified_ns for file in changes.changed],
            },
        )
    if changes.gone:
        connection.execute("DELETE FROM helix.inbox_file WHERE path = ANY (%s)", [changes.gone])


def _seal(connection: psycopg.Connection, requests: Mapping[str, FileRequest], plan: BatchPlan) -> str:
    names = [file.path for file in plan.files]
    key = create_batch(connection, plan.name, [requests[name] for name in names], BatchSettings())
    paths = [requests[name].path for name in names]
    connection.execute(load("inbox_take"), {"key": key, "names": names, "paths": paths})
    return key
