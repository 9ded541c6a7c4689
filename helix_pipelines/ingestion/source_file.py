"""A file where its owner keeps it: whether it can be read, and whether somebody is writing to it."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helix_pipelines.resilience.errors import FileRejectedError, TransientError
from helix_pipelines.storage.failures import RETRIED, passing_failure

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
OWN_FAULTS = frozenset(
    {errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV}
)
"""What reading a file fails with for as long as nobody changes the file, its name or its rights."""
RESTLESS_SECONDS = 5.0
"""How long ago a file was last written to where it may be still: programs that write pause for less, and the inbox waits as
long by default before it takes a file."""


class FileChangedError(FileRejectedError):
    """Somebody is writing to the file: what was read of it is neither its old nor its new content."""

    def __init__(self, message: str) -> None:
        super().__init__("FILE_CHANGED", message)


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells, without reading it, that a file was written to. `modified_ns` is nanoseconds since 1970."""

    bytes: int
    modified_ns: int


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Judge what keeps the block from reading a file.

    Raises FileRejectedError (FILE_MISSING, FILE_UNREADABLE) for what lies with the file, and TransientError for everything else:
    that a disk or a network drive fails says nothing about the file.
    """
    try:
        yield
    except OSError as error:
        raise _verdict(path, error) from error


def state_of(path: Path) -> FileState:
    """The file's size and time as they are now. Raises as `reading` does."""
    with reading(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _missing(path)
    return FileState(status.st_size, status.st_mtime_ns)


def refuse_unfinished(path: Path, taken_bytes: int, now: float) -> None:
    """Refuse a file that had `taken_bytes` when the inbox took it and is being written anew. `now` is seconds since 1970.

    One that was written anew and is at rest again is welcome. A time in the future is that of a file server whose clock is
    ahead, and as good as now.

    Raises FileChangedError, and as `reading` does.
    """
    state = state_of(path)
    if state.bytes != taken_bytes and now - state.modified_ns / 1e9 < RESTLESS_SECONDS:
        raise changed_in_inbox(path)


def changed_in_inbox(path: Path) -> FileChangedError:
    """The refusal of a version that the inbox took and that is no more."""
    return FileChangedError(
        f"{path.name} was changed after it was taken: the inbox takes the new version by itself once it is at rest."
    )


def changed_in_hand(path: Path, readings: int) -> FileChangedError:
    """The refusal of a file that somebody handed over, and that changed each time that it was read."""
    return FileChangedError(
        f"{path.name} changed each of the {readings} times that it was read: hand it over again when it is complete."
    )


def _verdict(path: Path, error: OSError) -> FileRejectedError | TransientError:
    why = error.strerror or type(error).__name__
    if error.errno in ABSENT:
        return _missing(path)
    if isinstance(error, PermissionError):
        return FileRejectedError(
            "FILE_UNREADABLE", f"{path.name} cannot be read: give the account that runs Helix the right to read it."
        )
    if error.errno in OWN_FAULTS:
        return FileRejectedError("FILE_UNREADABLE", f"{path.name} cannot be read: {why}.")
    failure = passing_failure(error)
    if failure is None:
        return TransientError("FILE_READ_FAILED", f"{path.name} cannot be read now ({why}). {RETRIED}")
    return TransientError(failure.code, f"{path.name} cannot be read now ({why}). {failure.advice}")


def _missing(path: Path) -> FileRejectedError:
    return FileRejectedError(
        "FILE_MISSING", f"{path.name} is not there any more, or is not a file: hand it over again."
    )
