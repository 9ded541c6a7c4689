"""Files that somebody writes to while they are taken in, and disks that fail meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helix_pipelines.ingestion import intake
from helix_pipelines.ingestion.batching import BatchLimits
from helix_pipelines.ingestion.fingerprint import fingerprint
from helix_pipelines.ingestion.inbox import InboxReport, list_inbox, take_stable_files
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.resilience.errors import TransientError
from helix_pipelines.storage.failures import diagnose
from helix_pipelines_tests.stages import Stages

ROWS = [{"question": f"Q{index} about things?", "answer": f"Answer number {index}."} for index in range(50)]
REPLACED = [{**row, "question": row["question"].replace("things", "stuff")} for row in ROWS]
LIMITS = BatchLimits(files=10, bytes=1_000_000, age=10)


@pytest.fixture
def inbox(stages: Stages, tmp_path: Path) -> Path:
    folder = tmp_path / "inbox" / stages.collection
    folder.mkdir(parents=True)
    with psycopg.connect(stages.url) as connection:
        connection.execute("DELETE FROM helix.inbox_file")
    return folder / "faq.csv"


def take(stages: Stages, file: Path) -> InboxReport:
    """A look at the inbox."""
    root = file.parent.parent
    listing = list_inbox(root, after=None, deadline=60, clock=lambda: 0)
    with psycopg.connect(stages.url) as connection:
        return take_stable_files(connection, root, listing, LIMITS, 0)


def sealed(stages: Stages, file: Path) -> str:
    """Looks at the inbox until it takes the file; the partition key of its batch."""
    take(stages, file)
    [key] = take(stages, file).batches
    return key


def content(stages: Stages, rows: list[dict[str, str]]) -> bytes:
    return stages.write(rows).read_bytes()


def rest(file: Path) -> None:
    """Let the file look as if nobody had written to it for a minute."""
    past = file.stat().st_mtime - 60
    os.utime(file, (past, past))


def at_every_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path, int], object]) -> None:
    """Do something to each file after its fingerprint was taken, and before it is stored."""
    count = 0

    def taken(path: Path) -> Any:
        nonlocal count
        count += 1
        mark = fingerprint(path)
        act(path, count)
        return mark

    monkeypatch.setattr(intake, "fingerprint", taken)


def test_a_file_that_is_rewritten_while_its_batch_waits_is_refused_and_taken_again_when_complete(
    stages: Stages, inbox: Path
) -> None:
    inbox.write_bytes(content(stages, ROWS))
    first = sealed(stages, inbox)
    new = content(stages, REPLACED)
    inbox.write_bytes(new[: len(new) // 2 + 7])
    refused = stages.finish(first)
    assert (refused["state"], refused["error_code"]) == ("rejected", "FILE_CHANGED")
    assert "the inbox takes the new version by itself" in refused["error_message"]
    inbox.write_bytes(new)
    assert stages.finish(sealed(stages, inbox))["inserted"] == 50
    assert stages.served() == sorted((row["question"], row["answer"]) for row in REPLACED)
    assert stages.violations() == []


def test_a_file_that_was_replaced_while_its_batch_waited_and_is_at_rest_is_imported_as_it_is(
    stages: Stages, inbox: Path
) -> None:
    inbox.write_bytes(content(stages, ROWS))
    key = sealed(stages, inbox)
    inbox.write_bytes(content(stages, REPLACED))
    rest(inbox)
    assert stages.finish(key)["sha256"] == hashlib.sha256(content(stages, REPLACED)).hexdigest()
    assert len(stages.served()) == 50


def test_a_file_of_the_inbox_that_is_copied_anew_with_its_old_time_is_not_forgotten(
    stages: Stages, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = content(stages, ROWS)
    inbox.write_bytes(whole)
    rest(inbox)
    times = inbox.stat()
    key = sealed(stages, inbox)
    with monkeypatch.context() as patch:
        at_every_reading(patch, lambda path, _: path.write_bytes(whole[:100]))
        assert stages.finish(key)["error_code"] == "FILE_CHANGED"
    inbox.write_bytes(whole)
    os.utime(inbox, ns=(times.st_atime_ns, times.st_mtime_ns))
    [again] = take(stages, inbox).batches
    assert stages.finish(again)["inserted"] == 50
    assert take(stages, inbox).batches == []


def test_a_file_of_the_inbox_that_grows_while_it_is_read_is_refused(
    stages: Stages, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.write_bytes(content(stages, ROWS))
    key = sealed(stages, inbox)
    at_every_reading(monkeypatch, lambda path, _: path.write_bytes(path.read_bytes() + b"More?,Yes.\r\n"))
    assert stages.finish(key)["error_code"] == "FILE_CHANGED"


def test_a_file_that_is_handed_over_while_it_is_saved_is_read_again(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stages.write(ROWS[:25])
    whole = content(stages, ROWS)
    at_every_reading(monkeypatch, lambda path, count: path.write_bytes(whole) if count == 1 else None)
    record = stages.finish(stages.begin(path))
    assert (record["inserted"], record["sha256"]) == (50, hashlib.sha256(whole).hexdigest())
    with stages.store.open(record["sha256"]) as stored:
        assert stored.read() == whole


def test_a_file_whose_size_and_content_stay_but_not_its_time_is_read_again(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []

    def touch(path: Path, count: int) -> None:
        readings.append(count)
        if count == 1:
            os.utime(path)

    path = stages.write(ROWS)
    rest(path)
    at_every_reading(monkeypatch, touch)
    assert stages.finish(stages.begin(path))["inserted"] == 50
    assert readings == [1, 2]


def test_a_file_that_is_handed_over_and_never_rests_is_refused_with_advice(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_every_reading(monkeypatch, lambda path, _: path.write_bytes(path.read_bytes() + b"More?,Yes.\r\n"))
    record = stages.finish(stages.begin(stages.write(ROWS)))
    assert (record["state"], record["error_code"]) == ("rejected", "FILE_CHANGED")
    assert "hand it over again when it is complete" in record["error_message"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT])
def test_a_disk_that_fails_for_a_while_rejects_no_file(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    key = stages.begin(stages.write(ROWS))
    with monkeypatch.context() as patch:
        patch.setattr(intake, "fingerprint", fail)
        with pytest.raises(TransientError) as failure:
            stages.decide(key)
    assert diagnose(failure.value).recoverable
    assert stages.import_of(key)["state"] == "pending"
    assert stages.finish(key)["inserted"] == 50


def test_a_store_that_is_full_for_a_while_is_tried_again(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    key = stages.begin(stages.write([{"question": f"What of {stages.collection}?", "answer": "It is new."}]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TransientError) as failure:
            stages.decide(key)
    assert (diagnose(failure.value).code, diagnose(failure.value).recoverable) == ("DISK_FULL", True)
    assert stages.finish(key)["inserted"] == 1


@pytest.mark.parametrize("place", ["directory", "member"])
def test_an_archive_whose_store_fails_for_a_while_is_not_called_damaged(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = tmp_path / "faq.zip"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("faq.csv", "question,answer\nHow?,So.\n")

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    key = stages.begin(path, "faq.zip")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "infolist" if place == "directory" else "open", fail)
        with pytest.raises((OSError, TransientError)) as failure:
            stages.decide(key)
    assert diagnose(failure.value).code == "DISK_FAILING"
    stages.decide(key)
    assert [
        row["state"] for row in stages.query("SELECT state FROM helix.import_job WHERE path LIKE %s", [f"{path}/%"])
    ] == ["parsed"]


def test_a_stored_file_whose_disk_fails_while_it_is_parsed_is_not_rejected(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TornStore(ContentStore):
        """Opens a file once to be recognised, and fails from then on."""

        def open(self, sha256: str) -> Any:
            if stages.import_of(key)["state"] == "stored":
                raise OSError(errno.EIO, "Input/output error")
            return super().open(sha256)

    key = stages.begin(stages.write([{"question": f"Why {stages.collection}?", "answer": "Because."}]))
    with monkeypatch.context() as patch:
        patch.setattr(stages, "store", TornStore(stages.store.url))
        with pytest.raises(OSError, match="Input/output error") as failure:
            stages.decide(key)
    assert diagnose(failure.value).recoverable
    assert stages.import_of(key)["state"] == "stored"
    assert stages.finish(key)["inserted"] == 1
