"""Whether the files of a command are those of a batch that was begun and not finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from helix_pipelines.storage import reports
from helix_pipelines.storage.batches import FileRequest

Digest = Callable[[str], str]
"""Path -> sha256 of the file's bytes, as hex."""


def find_unfinished(connection: psycopg.Connection, files: Sequence[FileRequest], digest: Digest) -> str | None:
    """The batch that already has exactly these files, unfinished: its run was killed, stopped, or met an error.

    Continuing it keeps what was done; a second batch would leave the first one behind for good. A batch is not continued
    if a source has got another file since, as the order of arrival decides which file counts.
    """
    candidates = reports.unfinished_batches(
        connection, [file.collection for file in files], [file.source for file in files]
    )
    for batch, recorded in candidates.items():
        if _same_files(recorded, files, digest):
            return batch
    return None


def _same_files(recorded: Sequence[Mapping[str, Any]], files: Sequence[FileRequest], digest: Digest) -> bool:
    asked = {(file.collection, file.source): file for file in files}
    if len(recorded) != len(asked) or {(line["collection"], line["source"]) for line in recorded} != set(asked):
        return False
    return all(_same_file(line, asked[line["collection"], line["source"]], digest) for line in recorded)


def _same_file(line: Mapping[str, Any], file: FileRequest, digest: Digest) -> bool:
    """Same bytes read in the same way; a file that was not fingerprinted yet will be read from its path anyway."""
    if not line["latest"] or line["mode"] != file.mode or line["mapping"] != dict(file.mapping):
        return False
    if tuple(line["sheets"]) != file.sheets:
        return False
    return bool(line["path"] == file.path if line["sha256"] is None else line["sha256"] == digest(file.path))
