from __future__ import annotations

import contextlib
import gzip
import io
import json
import random

import pytest

from helix_pipelines.ingestion.dialects import Dialect
from helix_pipelines.ingestion.sniff import SAMPLE_LINE_CHARS, Sniffed, sniff
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.handmade import compound, ods, xlsx, zipped

PAIR = '{"question": "q", "answer": "a"}'


def sniffed(content: bytes | str, name: str = "file.bin", encoding: str | None = None) -> Sniffed:
    data = content.encode() if isinstance(content, str) else content
    return sniff(lambda: io.BytesIO(data), name, ParseLimits(), encoding)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("question,answer\nq,a\n", Sniffed("csv", "utf-8", Dialect(","))),
        ("question;answer\nq, r, s;a, b\n", Sniffed("csv", "utf-8", Dialect(";"))),
        ("question\tanswer\nq, r\ta\n", Sniffed("tsv", "utf-8", Dialect("\t"))),
        ("question|answer\n", Sniffed("csv", "utf-8", Dialect("|"))),
        ('"question";"answer"\n"q;,";"a\n,,,,"\n', Sniffed("csv", "utf-8", Dialect(";"))),
        ("sep=;\nquestion;answer\n", Sniffed("csv", "utf-8", Dialect(";", preamble_lines=1))),
        ("a;b\n1,5;2,5\n3,5;4,5\n", Sniffed("csv", "utf-8", Dialect(";"))),
        ("name,place\nx,y\n", Sniffed("csv", "utf-8", Dialect(","))),
        ("[Question];[Answer]\nq;a\n", Sniffed("csv", "utf-8", Dialect(";"))),
        (f"[{PAIR}]", Sniffed("json", "utf-8")),
        (f"[\n  {PAIR},\n  {PAIR}\n]\n", Sniffed("json", "utf-8")),
        (PAIR, Sniffed("json", "utf-8")),
        ('{\n  "data": []\n}', Sniffed("json", "utf-8")),
        (f"{PAIR}\n{PAIR}\n", Sniffed("jsonl", "utf-8")),
        (f"\n{PAIR}\n\nnot json\n", Sniffed("jsonl", "utf-8")),
        (f"not json\n{PAIR}\n{PAIR}\n", Sniffed("jsonl", "utf-8")),
        ('{"question": NaN}\n{"question": "a\\u0000"}\n', Sniffed("jsonl", "utf-8")),
        (gzip.compress(b"question,answer\nq,a\n", mtime=0), Sniffed("csv", "utf-8", Dialect(","), "gzip")),
        ("question,answer\nq\0,a\n", Sniffed("csv", "utf-8", Dialect(","), has_nul=True)),
        ("\ufeffquestion,answer\nq,a\n".encode("utf-16-le"), Sniffed("csv", "utf-16-le", Dialect(","))),
    ],
)
def test_a_format_is_recognised_by_content_whatever_the_name(content: bytes | str, expected: Sniffed) -> None:
    for name in ("file.csv", "file.json", "file.xlsx", "file"):
        assert sniffed(content, name) == expected


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (xlsx(""), "xlsx"),
        (zipped({"[Content_Types].xml": "application/vnd.ms-excel.sheet.binary.macroEnabled.main"}), "xlsb"),
        (compound("\x05SummaryInformation", "Workbook"), "xls"),
        (compound("Book"), "xls"),
        (ods(""), "ods"),
        (zipped({"a.csv": "question,answer"}), "zip"),
        (b"PAR1" + bytes(50) + b"PAR1", "parquet"),
    ],
)
def test_a_container_is_recognised_by_what_is_in_it(content: bytes, name: str) -> None:
    assert sniffed(content, "file.csv") == Sniffed(name, None)


@pytest.mark.parametrize(
    ("content", "code", "kind"),
    [
        (b"", "EMPTY_FILE", "empty"),
        (b"\xef\xbb\xbf", "EMPTY_FILE", "empty"),
        (b" \r\n\t\n", "EMPTY_FILE", "empty"),
        (gzip.compress(b"", mtime=0), "EMPTY_FILE", "empty"),
        (zipped({"[Content_Types].xml": "wordprocessingml.document.main"}), "UNSUPPORTED_FORMAT", "Word"),
        (b"PK\x03\x04" + bytes(100), "DAMAGED_ARCHIVE", "damaged"),
        (xlsx("")[:-30], "DAMAGED_WORKBOOK", "cut off"),
        (gzip.compress(xlsx(""), mtime=0), "UNSUPPORTED_FORMAT", "gzip"),
        (gzip.compress(b"PAR1", mtime=0), "UNSUPPORTED_FORMAT", "gzip"),
        (ods("", manifest="<manifest:encryption-data/>"), "ENCRYPTED_FILE", "password"),
        (compound(), "UNSUPPORTED_FORMAT", "no workbook"),
        (compound("WordDocument", "Workbook"), "UNSUPPORTED_FORMAT", "Word"),
        (compound("EncryptionInfo", "EncryptedPackage"), "ENCRYPTED_FILE", "password"),
        (compound("Workbook")[:1100], "DAMAGED_WORKBOOK", "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "DAMAGED_WORKBOOK", "damaged"),
        (b"PAR1" + bytes(50), "DAMAGED_PARQUET", "cut off"),
        (b"PARE" + bytes(50) + b"PARE", "ENCRYPTED_FILE", "encrypted"),
        (b"%PDF-1.7\n", "UNSUPPORTED_FORMAT", "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "BINARY_CONTENT", "PNG"),
        (random.Random(1).randbytes(5000), "BINARY_CONTENT", "binary"),
        (
            gzip.compress(gzip.compress(b"question,answer\n", mtime=0), mtime=0),
            "UNSUPPORTED_FORMAT",
            "compressed twice",
        ),
        ("<?xml version='1.0'?><faq/>", "UNSUPPORTED_FORMAT", "XML"),
        ("Some prose, with a comma.\nAnd no table.\nAt all.\n", "UNSUPPORTED_FORMAT", "plain text"),
    ],
)
def test_a_file_without_a_reader_is_rejected_by_its_content_and_named(
    content: bytes | str, code: str, kind: str
) -> None:
    with pytest.raises(FileRejectedError) as rejection:
        sniffed(content, "questions.csv")
    assert rejection.value.code == code
    assert kind in rejection.value.message


def test_a_file_that_is_only_named_as_json_is_told_so() -> None:
    with pytest.raises(FileRejectedError, match="INVALID_JSON"):
        sniffed("true", "file.json")


def test_a_given_encoding_wins_over_what_it_looks_like() -> None:
    content = "question,answer\ncafé,x\n".encode("cp1252")
    assert sniffed(content, encoding="cp1250").encoding == "cp1250"
    with pytest.raises(FileRejectedError, match="ENCODING_UNKNOWN"):
        sniffed(content * 100, encoding="cp932")


def test_an_array_on_one_long_line_is_not_mistaken_for_json_lines() -> None:
    assert sniffed("[" + ", ".join([PAIR] * 20_000) + "]").format == "json"


def test_json_lines_with_records_too_long_to_sample_are_still_json_lines() -> None:
    line = json.dumps({"question": "q", "answer": "x" * 2 * SAMPLE_LINE_CHARS})
    assert sniffed(f"{line}\n{line}\n").format == "jsonl"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<!DOCTYPE html>\n<html><body>a, b</body></html>", "html"),
        ("categories:\n- trivia\nconversations:\n- - q\n  - a\n", "yaml"),
        ("# FAQ\n\n## Why, and how?\n\nBecause.\n", "markdown"),
    ],
)
def test_a_text_without_columns_is_told_by_its_start(text: str, name: str) -> None:
    assert sniffed(text).format == name


@pytest.mark.parametrize("title", ["FAQ\n\n", "# FAQ\n\n", "All questions, 2024\n"])
def test_a_markdown_table_below_a_title_is_not_taken_for_columns(title: str) -> None:
    table = "| Question | Answer |\n|---|:-:|\n| How? | So. |\n"
    with contextlib.suppress(FileRejectedError):  # a title may also be none that is known
        assert sniffed(title + table).format == "markdown"
