"""Small files in a home: locks, states, secrets. Written whole or not at all, and usable by root and the home's owner
alike.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helix_pipelines.resilience.errors import SetupError

NO_PLACE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
        errno.EROFS,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENODEV,
    }
)
"""What the system says where a path can hold no home at all, as below /proc or a file; a full disk is another matter."""
LOCK_POLL = 0.01
"""Seconds between two looks at a lock that somebody else holds; flock itself cannot wait with a limit."""


def make_folder(path: Path) -> None:
    """Make `path`, for its owner only, and its parents where they are missing."""
    with _explained(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_file(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace `path` by `text` in one step: a reader or a crash sees the old or the new content, never a part."""
    with _explained(path):
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        # O_EXCL and the rename follow no link, so root may write into a folder that another account owns.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                _give_to_owner(file.fileno(), path.parent)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def read_file(path: Path) -> str | None:
    """The text of `path`; None where there is none, or none that this account can read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError, UnicodeDecodeError):
        return None


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines of a log, from at most its last 64 KB."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def open_lock(path: Path) -> int:
    """A new descriptor of the lock file at `path`, made where it is missing; children do not inherit it.

    Two descriptors of one file are two parties to a lock, also inside one process.
    """
    with _explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        _give_to_owner(descriptor, path.parent)
        return descriptor


def lock(descriptor: int, kind: int, *, timeout: float) -> bool:
    """Take `descriptor`'s lock (`kind` is fcntl.LOCK_SH or LOCK_EX) within `timeout` seconds; tells whether it was
    taken.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_POLL)
        else:
            return True


@contextmanager
def exclusive_lock(path: Path, *, timeout: float) -> Iterator[int]:
    """Hold the lock file at `path` alone for a block; yields its descriptor.

    Raises SetupError (HOME_LOCKED) when another process holds it for longer than `timeout` seconds.
    """
    descriptor = open_lock(path)
    try:
        if not lock(descriptor, fcntl.LOCK_EX, timeout=timeout):
            raise SetupError(
                "HOME_LOCKED",
                f"Another process has held {path} for {timeout:.0f} s. Find it with `fuser {path}` and end it if it "
                "hangs.",
            )
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock file at `path`."""
    if not path.exists():
        return False
    descriptor = open_lock(path)
    try:
        return not lock(descriptor, fcntl.LOCK_SH, timeout=0)
    finally:
        os.close(descriptor)


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """What root writes into somebody's folder becomes theirs, or they could not start Helix without root again."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise SetupError(
            "HOME_NOT_WRITABLE",
            f"{path} cannot be written by this account; it was probably made by another one. Run Helix as that "
            "account, "
            "or choose another folder by HELIX_HOME.",
        ) from error
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        raise SetupError(
            "HOME_NOT_WRITABLE",
            f"{path} cannot be written: {error.strerror}. Choose another folder by HELIX_HOME.",
        ) from error
