"""What a file does to its reader stays in the reader's process: real children that really crash, hang and eat memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing.confinement import ReaderLostError, ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

WORKER = "helix_pipelines_tests.parsing.misbehaving_worker"
LINES = b"one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def process() -> Iterator[ReaderProcess]:
    with closing(ReaderProcess(WORKER)) as process:
        yield process


def request(reader: str, limits: ParseLimits | None = None) -> ReadRequest:
    return ReadRequest(lambda: io.BytesIO(LINES), Sniffed(reader, None), limits or ParseLimits(), {"question": "Q"})


def numbers(process: ReaderProcess, asked: ReadRequest, skip: int = 0) -> list[list[int]]:
    with process.open(asked) as reader:
        return [[row.row_number for row in chunk] for chunk in reader.chunks(2, skip=skip)]


def test_rows_and_what_is_known_of_the_file_come_through_the_socket(process: ReaderProcess) -> None:
    with process.open(request("LineReader")) as reader:
        assert (reader.version, reader.mapping) == ("lines-1", {"question": "Q"})
        assert [note.message for note in reader.notes] == ["as a test"]
        rows = [row for chunk in reader.chunks() for row in chunk]
    assert [row.question for row in rows] == LINES.decode().splitlines(keepends=True)
    assert rows[2].extra == {"at": [3]}


def test_a_file_can_be_read_again_from_any_record(process: ReaderProcess) -> None:
    with process.open(request("LineReader")) as reader:
        assert [len(chunk) for chunk in reader.chunks(2)] == [2, 2, 1]
        assert [row.row_number for chunk in reader.chunks(2, skip=3) for row in chunk] == [4, 5]


def test_one_child_reads_many_files_and_refusals_do_not_end_it(process: ReaderProcess) -> None:
    assert numbers(process, request("LineReader")) == [[1, 2], [3, 4], [5]]
    first = process._child
    with pytest.raises(FileRejectedError, match="EMPTY_FILE"):
        numbers(process, request("RefusingReader"))
    assert numbers(process, request("LineReader"), skip=4) == [[5]]
    assert process._child is first


def test_a_reader_that_is_left_in_the_middle_does_not_confuse_the_next(process: ReaderProcess) -> None:
    with process.open(request("LineReader")) as reader:
        assert len(next(reader.chunks(2))) == 2
    assert numbers(process, request("LineReader")) == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    ("reader", "limits", "code"),
    [
        ("SegfaultingReader", ParseLimits(), "READER_CRASHED"),
        ("HangingReader", ParseLimits(reader_timeout=0.3), "READING_TIMED_OUT"),
        ("GreedyReader", ParseLimits(reader_memory=1024**3), "READER_OUT_OF_MEMORY"),
        ("FaultyReader", ParseLimits(), "READER_FAILED"),
        ("WritingReader", ParseLimits(), "READER_FAILED"),
    ],
)
def test_whatever_a_file_does_to_its_reader_only_that_file_is_refused(
    process: ReaderProcess, reader: str, limits: ParseLimits, code: str
) -> None:
    with pytest.raises(FileRejectedError) as refusal:
        numbers(process, request(reader, limits))
    assert refusal.value.code == code
    assert numbers(process, request("LineReader")) == [[1, 2], [3, 4], [5]]


def test_a_reader_that_was_killed_from_outside_is_no_fault_of_the_file(process: ReaderProcess) -> None:
    with pytest.raises(ReaderLostError):
        numbers(process, request("KilledReader"))
    assert numbers(process, request("LineReader")) == [[1, 2], [3, 4], [5]]


def test_a_real_file_is_handed_over_by_its_descriptor(process: ReaderProcess, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINES)
    asked = ReadRequest(lambda: path.open("rb"), Sniffed("LineReader", None))
    assert numbers(process, asked) == [[1, 2], [3, 4], [5]]
