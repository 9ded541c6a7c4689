"""Every file of the test collection that `HELIX_TEST_DATA` points to ends exactly as its manifest says.

The collection is read in place. `expected_rows` and `expected_quarantine` are figures, ranges (`1..4`) or alternatives (`0|10`).
"""

from __future__ import annotations

import csv
import json
import os
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import open_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

CHECKOUT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HELIX_TEST_DATA", CHECKOUT.parent / "shared" / "data" / "open"))
READABLE = ("csv", "tsv", "jsonl", "json-array", "json (", "json")
LATER = ("json-squad", "json-wrapped", "json (CMRC nested)", "csv named .xlsx")
"""Formats whose manifest line begins like one that is read, but which need a reader or a layout of their own."""
ENCODINGS = {"utf-8", "utf-8-sig", "gb18030", "cp1252", "cp932", "latin-1", "utf-16-be", "ascii"}

Outcome = tuple[int, int]


def manifest() -> list[dict[str, str]]:
    if not DATA.is_dir():
        return []
    with (DATA / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


LINES = manifest()
pytestmark = pytest.mark.skipif(not LINES, reason=f"no test collection at {DATA} (HELIX_TEST_DATA)")


def is_readable(line: dict[str, str]) -> bool:
    return line["format"].startswith(READABLE) and line["format"] not in LATER


def opener(path: Path) -> partial[BinaryIO]:
    return partial(Path.open, path, "rb")


def read(path: Path, mapping: dict[str, str] | None = None) -> tuple[str, list[tuple[str, str]], int]:
    """Encoding, accepted pairs and the number of refused rows."""
    limits = ParseLimits()
    found = sniff(opener(path), path.name, limits)
    with open_reader(ReadRequest(opener(path), found, limits, mapping or {})) as reader:
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


@pytest.mark.parametrize("line", named([line for line in LINES if is_readable(line) and line["category"] == "real"]))
def test_a_real_file_gives_exactly_its_rows(line: dict[str, str]) -> None:
    encoding, pairs, refused = read(DATA / line["path"])
    assert (len(pairs), refused) == (int(line["expected_rows"]), int(line["expected_quarantine"]))
    expected = line["encoding"].split(" (")[0]
    if expected in ENCODINGS:
        assert encoding == expected


@pytest.mark.parametrize("line", named([line for line in LINES if is_readable(line) and line["category"] != "real"]))
def test_any_other_file_ends_as_documented(line: dict[str, str]) -> None:
    rows, refused = allowed(line["expected_rows"]), allowed(line["expected_quarantine"])
    if rows == {0}:
        with pytest.raises(FileRejectedError) as rejection:
            read(DATA / line["path"])
        assert len(rejection.value.message) < 1500
        return
    _, pairs, count = read(DATA / line["path"])
    assert len(pairs) in rows
    assert count in refused


@pytest.mark.parametrize("line", named([line for line in LINES if not is_readable(line)]))
def test_a_format_without_a_reader_is_rejected_or_read_as_what_it_is(line: dict[str, str]) -> None:
    if line["format"] == "csv named .xlsx":
        assert len(read(DATA / line["path"])[1]) in allowed(line["expected_rows"].replace("0|", ""))
        return
    with pytest.raises(FileRejectedError):
        read(DATA / line["path"])


@pytest.mark.parametrize("path", sorted((DATA / "hostile/csv_spectrum").glob("*.csv")), ids=lambda path: path.name)
def test_mapped_columns_have_the_values_of_the_ground_truth(path: Path) -> None:
    truth = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if b"\r" not in path.read_bytes():  # the collection holds a file whose \r\n became \n after its truth was written
        truth = [{name: text.replace("\r", "") for name, text in record.items()} for record in truth]
    first, second = list(truth[0])[:2]
    _, pairs, _ = read(path, {"question": first, "answer": second})
    expected = [(record[first], record[second]) for record in truth if record[first].strip() and record[second].strip()]
    assert pairs == expected


def test_naughty_strings_come_back_to_the_letter() -> None:
    encoding, pairs, _ = read(DATA / "hostile/blns_as_questions.csv")
    with (DATA / "hostile/blns_as_questions.csv").open(newline="", encoding=encoding) as file:
        expected = [(row["question"], row["answer"]) for row in csv.DictReader(file) if row["question"].strip()]
    assert pairs == expected
