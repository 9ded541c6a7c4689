from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing

import pytest

from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing.confinement import ReaderLostError, ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import Reader
from helix_pipelines.parsing.reading import READERS_LOST, read_through, refuse_empty, refuse_endless
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

REQUEST = ReadRequest(lambda: io.BytesIO(b'{"question": "Q?", "answer": "A."}\n'), Sniffed("jsonl", "utf-8"))


@pytest.fixture
def process() -> Iterator[ReaderProcess]:
    with closing(ReaderProcess()) as process:
        yield process


def test_a_file_whose_reader_was_killed_is_read_again_from_the_start(process: ReaderProcess) -> None:
    read: list[int] = []

    def work(reader: Reader) -> None:
        read.append(sum(map(len, reader.chunks())))
        if len(read) < READERS_LOST:
            raise ReaderLostError("READER_LOST", "It was killed.")

    read_through(REQUEST, process, work)
    assert read == [1] * READERS_LOST


def test_a_file_whose_readers_are_all_killed_is_rejected(process: ReaderProcess) -> None:
    def work(_reader: Reader) -> None:
        raise ReaderLostError("READER_LOST", "It was killed.")

    with pytest.raises(FileRejectedError) as refusal:
        read_through(REQUEST, process, work)
    assert refusal.value.code == "READER_CRASHED"


@pytest.mark.parametrize(("records", "seconds", "code"), [(11, 0.0, "TOO_MANY_ROWS"), (10, 3.1, "READING_TIMED_OUT")])
def test_more_records_or_time_than_allowed_is_refused(records: int, seconds: float, code: str) -> None:
    limits = ParseLimits(rows=10, file_seconds=3.0)
    refuse_endless(10, 3.0, limits)
    with pytest.raises(FileRejectedError) as refusal:
        refuse_endless(records, seconds, limits)
    assert refusal.value.code == code


def test_a_file_without_a_record_is_refused() -> None:
    refuse_empty(1)
    with pytest.raises(FileRejectedError) as refusal:
        refuse_empty(0)
    assert refusal.value.code == "NO_RECORDS"
