"""What keeps a file from being read is judged: only what lies with the file rejects it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from helix_pipelines.ingestion.source_file import (
    RESTLESS_SECONDS,
    FileChangedError,
    reading,
    refuse_unfinished,
    state_of,
)
from helix_pipelines.resilience.errors import FileRejectedError, TransientError

WRITTEN = 1_900_000_000.0
"""When the files of these tests were last written to, in seconds since 1970."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "faq.csv"
    path.write_bytes(b"question,answer\n")
    os.utime(path, (WRITTEN, WRITTEN))
    return path


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, "FILE_MISSING"),
        (errno.ENOTDIR, "FILE_MISSING"),
        (errno.EACCES, "FILE_UNREADABLE"),
        (errno.EPERM, "FILE_UNREADABLE"),
        (errno.EISDIR, "FILE_UNREADABLE"),
        (errno.ENAMETOOLONG, "FILE_UNREADABLE"),
        (errno.ELOOP, "FILE_UNREADABLE"),
        (errno.ENXIO, "FILE_UNREADABLE"),
    ],
)
def test_what_lies_with_the_file_rejects_it(file: Path, number: int, code: str) -> None:
    with pytest.raises(FileRejectedError, match=r"faq\.csv") as refusal, reading(file):
        raise OSError(number, os.strerror(number))
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EIO, "DISK_FAILING"),
        (errno.ESTALE, "MOUNT_LOST"),
        (errno.EMFILE, "OPEN_FILES_USED_UP"),
        (errno.ENFILE, "OPEN_FILES_USED_UP"),
        (errno.ETIMEDOUT, "NETWORK_UNAVAILABLE"),
        (errno.EDEADLK, "FILE_READ_FAILED"),
    ],
)
def test_what_lies_with_the_machine_passes(file: Path, number: int, code: str) -> None:
    with pytest.raises(TransientError, match=r"faq\.csv cannot be read now") as failure, reading(file):
        raise OSError(number, os.strerror(number))
    assert failure.value.code == code


def test_a_folder_or_a_pipe_in_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path, tmp_path / "pipe.csv", tmp_path / "gone.csv"):
        with pytest.raises(FileRejectedError, match="FILE_MISSING"):
            state_of(path)


@pytest.mark.parametrize("age", [-3600.0, 0.0, RESTLESS_SECONDS - 1])
def test_a_file_of_another_size_that_was_just_written_to_is_refused(file: Path, age: float) -> None:
    with pytest.raises(FileChangedError, match="the inbox takes the new version"):
        refuse_unfinished(file, taken_bytes=99, now=WRITTEN + age)


def test_a_file_of_another_size_that_is_at_rest_is_welcome_and_so_is_one_of_the_same_size(file: Path) -> None:
    refuse_unfinished(file, taken_bytes=99, now=WRITTEN + RESTLESS_SECONDS + 1)
    refuse_unfinished(file, taken_bytes=16, now=WRITTEN)
