from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.resilience.errors import FileRejectedError, SetupError, TransientError

CONTENT = b"question,answer\nq,a\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "odd name \n.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["file", "path", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    folder = tmp_path / "the store"
    return ContentStore({"file": folder.as_uri(), "path": str(folder), "memory": f"memory://{tmp_path}"}[request.param])


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_put_is_read_again_and_putting_twice_changes_nothing(store: ContentStore, file: Path) -> None:
    store.put(file, SHA256)
    store.put(file, SHA256)
    with store.open(SHA256) as stored:
        assert stored.read() == CONTENT


def test_a_folder_gives_a_path_and_another_place_none(tmp_path: Path, file: Path) -> None:
    folder = ContentStore(tmp_path.as_uri() + "/store")
    assert folder.local_path(SHA256) is None
    folder.put(file, SHA256)
    path = folder.local_path(SHA256)
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert ContentStore("memory://x").local_path(SHA256) is None


def test_a_file_that_changed_since_its_fingerprint_leaves_nothing_behind(store: ContentStore, file: Path) -> None:
    file.write_bytes(CONTENT + b"more")
    with pytest.raises(FileRejectedError, match="FILE_CHANGED"):
        store.put(file, SHA256)
    with pytest.raises(SetupError, match="STORE_UNREADABLE"):
        store.open(SHA256)
    assert files_below(file.parent) == [file]


def test_a_stored_file_that_was_cut_off_is_written_again(tmp_path: Path, file: Path) -> None:
    store = ContentStore(str(tmp_path / "store"))
    store.put(file, SHA256)
    path = store.local_path(SHA256)
    assert path is not None
    path.write_bytes(CONTENT[:5])
    store.put(file, SHA256)
    assert path.read_bytes() == CONTENT


def test_a_vanished_file_is_rejected(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(FileRejectedError, match="FILE_MISSING"):
        store.put(tmp_path / "gone.csv", SHA256)


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path, file: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    with pytest.raises(SetupError, match=r"STORE_WRITE_FAILED.*HELIX_STORE_URL"):
        ContentStore(str(tmp_path / "occupied")).put(file, SHA256)


def test_a_disk_that_is_full_leaves_no_partial_entry(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransientError, match=r"DISK_FULL: .*No space left.*Free space"):
        ContentStore(str(tmp_path / "store")).put(file, SHA256)
    assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EDQUOT, "DISK_FULL"), (errno.EIO, "DISK_FAILING"), (errno.ECONNREFUSED, "NETWORK_UNAVAILABLE")],
)
def test_a_store_that_fails_for_a_while_is_no_matter_of_settings(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    store = ContentStore(f"memory://{tmp_path}/{number}")

    def fail(*_: object, **__: object) -> None:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise RuntimeError("the words of an object store's library") from error

    store.put(file, SHA256)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.open", fail)
    with pytest.raises(TransientError, match=f"{code}: The store of original files .* cannot be read"):
        store.open(SHA256)
    file.write_bytes(CONTENT * 2)
    with pytest.raises(TransientError, match=f"{code}: The store of original files .* cannot be written"):
        store.put(file, hashlib.sha256(CONTENT * 2).hexdigest())


def test_a_source_that_fails_while_it_is_copied_is_not_the_stores_failure(
    store: ContentStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TornFile(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 5:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(min(5, size or 5)) or b""

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: TornFile(path) if path == file else opened(path, mode))
    with pytest.raises(TransientError, match="DISK_FAILING: odd name"):
        store.put(file, SHA256)
    with pytest.raises(SetupError, match="STORE_UNREADABLE"):
        store.open(SHA256)


def test_a_back_end_that_is_unknown_or_not_installed_is_named_without_its_password(file: Path) -> None:
    with pytest.raises(SetupError) as failure:
        ContentStore("nosuchplace://user:secret@host/x").put(file, SHA256)
    assert failure.value.code == "STORE_WRITE_FAILED"
    assert "secret" not in failure.value.message


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, SHA256 + "0"])
def test_nothing_but_a_hash_is_a_key(store: ContentStore, key: str) -> None:
    with pytest.raises(SetupError, match="STORE_UNREADABLE"):
        store.open(key)


def test_a_folder_needs_no_fsspec() -> None:
    script = (
        "import sys; from helix_pipelines.ingestion.store import ContentStore;"
        f"ContentStore('file:///x').local_path('{SHA256}'); sys.exit('fsspec' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
