"""Every file of the test collection that `HELIX_TEST_DATA` points to ends exactly as its manifest says.

The collection is read in place. `expected_rows` and `expected_quarantine` are figures, ranges (`1..4`) or alternatives (`0|10`).
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from helix_pipelines.ingestion.archives import store_members
from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.confinement import ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import open_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

CHECKOUT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HELIX_TEST_DATA", CHECKOUT.parent / "shared" / "data" / "open"))
ENCODINGS = {"utf-8", "utf-8-sig", "gb18030", "cp1252", "cp932", "latin-1", "utf-16-be", "ascii"}

REFUSED_BY_CHOICE = {"yaml/gc_infobase_financial.yaml": "UNSUPPORTED_LAYOUT"}
"""Real files for which the manifest allows a refusal: here question and answer stand under keys of the file's own making."""
LONGEST_MESSAGE = 1500


def manifest() -> list[dict[str, str]]:
    if not DATA.is_dir():
        return []
    with (DATA / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


LINES = manifest()
pytestmark = pytest.mark.skipif(not LINES, reason=f"no test collection at {DATA} (HELIX_TEST_DATA)")


def opener(path: Path) -> partial[BinaryIO]:
    return partial(Path.open, path, "rb")


@pytest.fixture(scope="module")
def process() -> Iterator[ReaderProcess]:
    with closing(ReaderProcess()) as process:
        yield process


def read(
    path: Path, process: ReaderProcess | None = None, mapping: dict[str, str] | None = None
) -> tuple[str, list[tuple[str, str]], int]:
    """Encoding, accepted pairs and the number of refused rows."""
    limits = ParseLimits()
    found = sniff(opener(path), path.name, limits)
    with open_reader(ReadRequest(opener(path), found, limits, mapping or {}), process) as reader:
        rows = [row for chunk in reader.chunks() for row in chunk]
    assert all(row.reason for row in rows if row.code)
    assert all(row.question.strip() and row.answer.strip() for row in rows if not row.code)
    pairs = [(row.question, row.answer) for row in rows if not row.code]
    return found.encoding or "", pairs, len(rows) - len(pairs)


def allowed(figures: str) -> set[int]:
    if ".." in figures:
        first, last = figures.split("..")
        return set(range(int(first), int(last) + 1))
    return {int(figure) for figure in figures.split("|")}


def named(lines: list[dict[str, str]]) -> list[object]:
    return [pytest.param(line, id=line["path"]) for line in lines]


@pytest.mark.parametrize("line", named([line for line in LINES if line["category"] == "real"]))
def test_a_real_file_gives_exactly_its_rows(line: dict[str, str], process: ReaderProcess) -> None:
    if line["path"] in REFUSED_BY_CHOICE:
        with pytest.raises(FileRejectedError, match=REFUSED_BY_CHOICE[line["path"]]):
            read(DATA / line["path"], process)
        return
    if line["expected_rows"] == "0":
        with pytest.raises(FileRejectedError):
            read(DATA / line["path"], process)
        return
    encoding, pairs, refused = read(DATA / line["path"], process)
    assert (len(pairs), refused) == (int(line["expected_rows"]), int(line["expected_quarantine"]))
    expected = line["encoding"].split(" (")[0]
    if expected in ENCODINGS and encoding:
        assert encoding == expected


@pytest.mark.parametrize("line", named([line for line in LINES if line["category"] != "real"]))
def test_any_other_file_ends_as_documented(line: dict[str, str], process: ReaderProcess) -> None:
    rows, refused = allowed(line["expected_rows"]), allowed(line["expected_quarantine"])
    if rows == {0}:
        with pytest.raises(FileRejectedError) as rejection:
            members_or_rows(DATA / line["path"], process)
        assert len(rejection.value.message) < LONGEST_MESSAGE
        return
    _, pairs, count = read(DATA / line["path"], process)
    assert len(pairs) in rows
    assert count in refused


def members_or_rows(path: Path, process: ReaderProcess) -> None:
    """Read the file, or each file of an archive, as the product takes archives apart."""
    if not zipfile.is_zipfile(path) or sniff(opener(path), path.name, ParseLimits()).format != "zip":
        read(path, process)
        return
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as binary:
        store = ContentStore(folder)
        for member in store_members(binary, store, ParseLimits()):
            assert member.sha256 is not None
            read(Path(folder, member.sha256[:2], member.sha256[2:4], member.sha256), process)


@pytest.mark.parametrize("path", sorted((DATA / "hostile/csv_spectrum").glob("*.csv")), ids=lambda path: path.name)
def test_mapped_columns_have_the_values_of_the_ground_truth(path: Path) -> None:
    truth = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if b"\r" not in path.read_bytes():  # the collection holds a file whose \r\n became \n after its truth was written
        truth = [{name: text.replace("\r", "") for name, text in record.items()} for record in truth]
    first, second = list(truth[0])[:2]
    _, pairs, _ = read(path, mapping={"question": first, "answer": second})
    expected = [(record[first], record[second]) for record in truth if record[first].strip() and record[second].strip()]
    assert pairs == expected


def test_naughty_strings_come_back_to_the_letter() -> None:
    encoding, pairs, _ = read(DATA / "hostile/blns_as_questions.csv")
    with (DATA / "hostile/blns_as_questions.csv").open(newline="", encoding=encoding) as file:
        expected = [(row["question"], row["answer"]) for row in csv.DictReader(file) if row["question"].strip()]
    assert pairs == expected
