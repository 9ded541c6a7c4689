"""Files that a person hands over become a batch, unless they are those of one that was begun and not finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from helix_pipelines.ingestion.fingerprint import fingerprint
from helix_pipelines.storage import reports
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch, mark_launched
from helix_pipelines.storage.queue_verbs import queue_again
from helix_pipelines.storage.states import BatchState

Recorded = Callable[[psycopg.Connection, str], None]
"""What else is written with a new batch: given the connection and the batch's key."""


class HandedOver(NamedTuple):
    """The key of the batch that files have become, and whether it had been begun before."""

    batch: str
    goes_on: bool


def hand_over(
    connection: psycopg.Connection,
    files: Sequence[FileRequest],
    *,
    state: BatchState,
    priority: int | None = None,
    recorded: Recorded = lambda _connection, _batch: None,
) -> HandedOver:
    """The unfinished batch of the same files, or a new one, launched or queued as `state` says.

    One that is there keeps its priority unless another is given. Raises UsageError (QUEUE_STATE) for one that is being cancelled.
    """
    batch = _unfinished(connection, files)
    with connection.transaction():
        if batch is None:
            batch = create_batch(connection, _name(files), files, BatchSettings(), state=state, priority=priority or 0)
            recorded(connection, batch)
            return HandedOver(batch, goes_on=False)
        if state == BatchState.QUEUED:
            queue_again(connection, batch, priority)
        else:
            mark_launched(connection, batch)
        return HandedOver(batch, goes_on=True)


def _name(files: Sequence[FileRequest]) -> str:
    """One file's source, or the folder that several have in common."""
    if len(files) == 1:
        return files[0].source
    return Path(os.path.commonpath([file.path for file in files])).name or "import"


def _unfinished(connection: psycopg.Connection, files: Sequence[FileRequest]) -> str | None:
    """The batch that already has exactly these files, unfinished: its run was killed, stopped, or met an error.

    Continuing it keeps what was done; a second batch would leave the first one behind for good. A batch is not continued
    if a source has got another file since, as the order of arrival decides which file counts.
    """
    candidates = reports.unfinished_batches(
        connection, [file.collection for file in files], [file.source for file in files]
    )
    return next((batch for batch, recorded in candidates.items() if _same_files(recorded, files)), None)


def _same_files(recorded: Sequence[Mapping[str, Any]], files: Sequence[FileRequest]) -> bool:
    asked = {(file.collection, file.source): file for file in files}
    if len(recorded) != len(asked) or {(line["collection"], line["source"]) for line in recorded} != set(asked):
        return False
    return all(_same_file(line, asked[line["collection"], line["source"]]) for line in recorded)


def _same_file(line: Mapping[str, Any], file: FileRequest) -> bool:
    """Same bytes read in the same way; a file that was not fingerprinted yet will be read from its path anyway."""
    if not line["latest"] or line["mode"] != file.mode or line["mapping"] != dict(file.mapping):
        return False
    if tuple(line["sheets"]) != file.sheets:
        return False
    return bool(line["path"] == file.path if line["sha256"] is None else line["sha256"] == _digest(file.path))


def _digest(path: str) -> str:
    """The file's SHA-256, blank where it cannot be read: what is wrong with it is for the pipeline to record."""
    try:
        return fingerprint(Path(path)).sha256
    except OSError:
        return ""
