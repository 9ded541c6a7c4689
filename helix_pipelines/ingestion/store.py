"""Content-addressed store of original files: what was imported stays readable, byte for byte, under its SHA-256.

A folder (`file://`) is handled with the standard library alone; every other URL goes through fsspec, whose import costs 0.2 s.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from helix_pipelines.ingestion.fingerprint import Fingerprint
from helix_pipelines.ingestion.source_file import FileChangedError, reading
from helix_pipelines.resilience.errors import HelixError, SetupError, TransientError
from helix_pipelines.storage.failures import passing_failure

COPY_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ContentStore:
    """Files by their SHA-256 (`ab/cd/abcd...`) below one URL; an entry appears whole or not at all and never changes.

    What passes with time (a full disk, a network that is away) is raised as TransientError with the code of
    `storage.failures`; what only a person can put right as SetupError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._place: _Place = _Folder(url) if urlsplit(url).scheme in {"", "file"} else _Remote(url)

    def put(self, path: Path, sha256: str) -> None:
        """Store the file; nothing is done where its content is there already.

        Raises FileRejectedError (FILE_CHANGED, FILE_MISSING, FILE_UNREADABLE), TransientError, SetupError (STORE_WRITE_FAILED);
        no partial entry is left.
        """
        key = _key(sha256)
        with reading(path):
            source = path.open("rb")
        with source, self._explained("STORE_WRITE_FAILED", "written"):
            if self._place.size(key) != os.fstat(source.fileno()).st_size:
                self._place.write(key, _verified(_blocks(path, source), path.name, sha256))

    def put_blocks(self, mark: Fingerprint, name: str, blocks: Callable[[], Iterator[bytes]]) -> None:
        """Store content that is no file of its own, such as a member of an archive; raises as `put` and `blocks` do."""
        key = _key(mark.sha256)
        with self._explained("STORE_WRITE_FAILED", "written"):
            if self._place.size(key) != mark.bytes:
                self._place.write(key, _verified(blocks(), name, mark.sha256))

    def open(self, sha256: str) -> BinaryIO:
        """The stored bytes, from their start. Raises TransientError, SetupError (STORE_UNREADABLE)."""
        with self._explained("STORE_UNREADABLE", "read"):
            return self._place.open(_key(sha256))

    def local_path(self, sha256: str) -> Path | None:
        """Where the file lies on this machine, for libraries that want a path; None where it is absent or elsewhere."""
        with self._explained("STORE_UNREADABLE", "read"):
            return self._place.local_path(_key(sha256))

    @contextmanager
    def _explained(self, code: str, verb: str) -> Iterator[None]:
        """Turn whatever the file system or an fsspec back end raises into one error with a remedy."""
        try:
            yield
        except HelixError:
            raise
        except Exception as error:
            trouble = (
                f"The store of original files at {self._shown_url} cannot be {verb} ({type(error).__name__}: {error})."
            )
            failure = passing_failure(error)
            if failure is not None:
                raise TransientError(failure.code, f"{trouble} {failure.advice}") from error
            remedy = "Check that it exists, is mounted and is permitted to this user, or set HELIX_STORE_URL."
            raise SetupError(code, f"{trouble} {remedy}") from error

    @property
    def _shown_url(self) -> str:
        """The URL without a user name or password that may stand in it."""
        return re.sub(r"(?<=://)[^/@]*@", "***@", self.url)


class _Place(Protocol):
    def size(self, key: str) -> int | None: ...
    def write(self, key: str, blocks: Iterator[bytes]) -> None: ...
    def open(self, key: str) -> BinaryIO: ...
    def local_path(self, key: str) -> Path | None: ...


class _Folder:
    def __init__(self, url: str) -> None:
        self._root = Path(unquote(urlsplit(url).path) if url.startswith("file:") else url)

    def size(self, key: str) -> int | None:
        path = self._root / key
        return path.stat().st_size if path.is_file() else None

    def write(self, key: str, blocks: Iterator[bytes]) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("xb") as target:
                for block in blocks:
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        return (self._root / key).open("rb")

    def local_path(self, key: str) -> Path | None:
        path = self._root / key
        return path if path.is_file() else None


class _Remote:
    """Any file system that fsspec knows: s3://, gs://, az://, memory://, ..."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: tuple[Any, str] | None = None

    @property
    def _target(self) -> tuple[Any, str]:
        if self._opened is None:
            import fsspec

            self._opened = fsspec.core.url_to_fs(self._url)
        return self._opened

    def _path(self, key: str) -> str:
        return f"{self._target[1].rstrip('/')}/{key}"

    def size(self, key: str) -> int | None:
        files, _ = self._target
        path = self._path(key)
        files.invalidate_cache()
        return int(files.size(path)) if files.exists(path) else None

    def write(self, key: str, blocks: Iterator[bytes]) -> None:
        files, _ = self._target
        path = self._path(key)
        temporary = f"{path}.{uuid.uuid4().hex}"
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with files.open(temporary, "wb") as target:
                for block in blocks:
                    target.write(block)
            files.mv(temporary, path)
        finally:
            if files.exists(temporary):
                files.rm(temporary)

    def open(self, key: str) -> BinaryIO:
        return cast("BinaryIO", self._target[0].open(self._path(key), "rb"))

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - nothing of another machine has a path here
        return None


def _key(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise SetupError(
            "STORE_UNREADABLE", f"{sha256[:80]!r} is not a SHA-256; the store holds files by nothing else."
        )
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _blocks(path: Path, source: BinaryIO) -> Iterator[bytes]:
    """The content of a file to be stored; that it cannot be read is not the store's failure."""
    with reading(path):
        while block := source.read(COPY_BYTES):
            yield block


def _verified(blocks: Iterator[bytes], name: str, sha256: str) -> Iterator[bytes]:
    """The blocks of a file; fails after the last one if they are not what the fingerprint was taken of."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        yield block
    if digest.hexdigest() != sha256:
        raise FileChangedError(f"{name} changed while it was copied: hand it over again when it is complete.")


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
