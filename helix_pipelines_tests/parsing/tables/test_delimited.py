from __future__ import annotations

import csv
import gzip
import io
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helix_pipelines.ingestion.dialects import Dialect
from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing import text as text_module
from helix_pipelines.parsing.codes import HINTS, RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import NoteCode
from helix_pipelines.parsing.readers import make_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

FIELD = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r\t"), min_size=1).filter(
    str.strip
)
"""Files with more than a few control characters are no texts, and refused as such."""


@given(
    st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=20),
    st.sampled_from(",;\t|"),
    st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_MINIMAL, "\r\n")]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_is_written_is_read(
    pairs: list[tuple[str, str]], delimiter: str, style: tuple[Literal[0, 1], str], encoding: str
) -> None:
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=delimiter, quoting=style[0], lineterminator=style[1])
    writer.writerow(["question", "answer"])
    writer.writerows(pairs)
    found = read(target.getvalue().encode(encoding))
    assert found.sniffed.dialect == Dialect(delimiter)
    assert found.pairs == pairs
    assert [row.row_number for row in found.rows] == list(range(1, len(pairs) + 1))


@settings(max_examples=50)
@given(
    st.lists(
        st.sampled_from(["q,a\n", 'q,"a\nb"\r\n', "q\n", "\n", ",,\n", 'q,"a\n', "q,a\r", "ä,ö,x\n"]), max_size=30
    ),
    st.data(),
)
def test_resuming_after_any_record_gives_the_rest(lines: list[str], data: st.DataObject) -> None:
    content = "question,answer\n" + "".join(lines)
    rows = read(content).rows
    skip = data.draw(st.integers(0, len(rows)))
    assert read(content, skip=skip).rows == rows[skip:]


def test_where_blocks_end_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    content = 'question,answer\r\nä?,"ö\r\nß"\r\n残高,"一\n二"\rtorn,"x\nq,a\xa0\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"):
        sniffed = Sniffed("csv", encoding, Dialect(","))
        data = content.encode(encoding)
        results = []
        for size in (1, 2, 3, 7, 1 << 16):
            monkeypatch.setattr(text_module, "BLOCK_BYTES", size)
            reader = make_reader(ReadRequest(lambda data=data: io.BytesIO(data), sniffed))  # type: ignore[misc]
            results.append([row for chunk in reader.chunks() for row in chunk])
        assert [row.question for row in results[0]] == ["ä?", "残高", "", "q"]
        assert all(rows == results[0] for rows in results)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (",a", RowCode.QUESTION_MISSING),
        ("q,\u3000 ", RowCode.ANSWER_MISSING),
        ("q", RowCode.TOO_FEW_FIELDS),
        ("q,a,surplus", RowCode.TOO_MANY_FIELDS),
        ("q\0,a", RowCode.NUL_BYTE),
        ('q,"a', RowCode.UNCLOSED_QUOTE),
        ('"q, "x",a', RowCode.UNCLOSED_QUOTE),
        ('"q, "x, y" z",a', RowCode.STRAY_QUOTE),
        ("q," + "x" * 101, RowCode.CELL_TOO_LONG),
        ("q," + "x" * 1000, RowCode.CELL_TOO_LONG),
    ],
)
def test_a_bad_row_is_refused_with_its_number_and_reason_between_good_ones(line: str, code: RowCode) -> None:
    found = read(f"question,answer\nq1,a1\n{line}\nq3,a3\n", limits=ParseLimits(cell_chars=100))
    assert found.pairs == [("q1", "a1"), ("q3", "a3")]
    assert found.refused == [(2, code)]
    assert found.rows[1].reason
    assert HINTS[code]


def test_a_byte_that_is_no_character_refuses_its_row_and_shows_it() -> None:
    filler = "q,an answer in plain English\n" * 2000
    found = read(f"question,answer\n{filler}".encode() + b"caf\xe9,a\n" + filler.encode())
    assert found.sniffed.encoding == "utf-8"
    assert found.refused == [(2001, RowCode.BAD_ENCODING)]
    assert found.rows[2000].raw == {"question": "caf\\xe9", "answer": "a"}


def test_a_blank_line_or_a_line_of_separators_is_no_record() -> None:
    found = read("\n\nquestion,answer,note\n\nq1,a1,\n,,\n \t , ,\nq2,a2,x\n")
    assert found.pairs == [("q1", "a1"), ("q2", "a2")]
    assert [row.row_number for row in found.rows] == [1, 2]


def test_separators_at_the_end_of_a_row_are_not_too_many_fields() -> None:
    assert read("question,answer\nq1,a1,,\n").pairs == [("q1", "a1")]


def test_a_short_row_that_has_its_pair_is_accepted() -> None:
    (row,) = read("question,answer,note\nq1,a1\n").rows
    assert (row.code, row.extra) == (None, {})


def test_rows_that_were_looked_at_closely_have_the_same_fields_as_their_neighbours() -> None:
    header = "id,question,answer,category,url,note\n"
    plain, trailing, short = read(f"{header}1,q,a,c,u,n\n1,q,a,c,u,n,\n1,q,a,c\n").rows
    assert (plain.external_id, plain.category, plain.url, plain.extra) == ("1", "c", "u", {"note": "n"})
    assert trailing == ParsedRow(2, "q", "a", None, "1", "c", "u", {"note": "n"})
    assert short == ParsedRow(3, "q", "a", None, "1", "c", None, {})


def test_blank_metadata_is_none_and_not_an_empty_text() -> None:
    (row,) = read("question,answer,category,url,note\nq,a,,,\n").rows
    assert (row.category, row.url, row.extra) == (None, None, {})


def test_fields_find_their_roles_and_the_others_stay_as_metadata() -> None:
    found = read("Nr.;Frage;Antwort;Kategorie;Link;Stand;Stand;\n7;q;a;c;http://x/;2024;2025;tail\n")
    (row,) = found.rows
    assert (row.question, row.answer, row.category, row.url) == ("q", "a", "c", "http://x/")
    assert row.extra == {"Nr.": "7", "Stand": "2024", "Stand (2)": "2025", "column 8": "tail"}
    assert found.reader.mapping == {"question": "Frage", "answer": "Antwort", "category": "Kategorie", "url": "Link"}


def test_lines_may_end_in_three_ways_in_one_file() -> None:
    assert read('question,answer\r\nq1,a1\nq2,a2\rq3,"a\nb\r"\r\n').pairs == [
        ("q1", "a1"),
        ("q2", "a2"),
        ("q3", "a\nb\r"),
    ]


def test_the_separator_that_a_spreadsheet_announces_is_used() -> None:
    assert read("sep=^\nquestion^answer\nq,1^a;2\n").pairs == [("q,1", "a;2")]


@pytest.mark.parametrize(
    "title",
    ["FAQ export 2024\n", "\n\nFAQ export, 1 May\n\n", "FAQ export;;\r\n;;\r\nconfidential;;\r\n", '"Title"\n\n'],
)
def test_a_table_below_a_title_is_read_and_the_title_is_noted(title: str) -> None:
    found = read(f"{title}Question;Answer;Tags\nHow?;So;a,b\nWhy?;Because;c\n")
    assert found.pairs == [("How?", "So"), ("Why?", "Because")]
    assert [row.row_number for row in found.rows] == [1, 2]
    [note] = found.reader.notes
    assert note.code == NoteCode.PART_LEFT_OUT


@pytest.mark.parametrize(
    "content", ["a,b\nquestion,answer\nq,a\n", "x;y\n1;2\nq;a\n", "x,y,z\n" + "t\n" * 30 + "question,answer\nq,a\n"]
)
def test_a_line_of_data_is_no_header_though_it_has_its_names(content: str) -> None:
    with pytest.raises(FileRejectedError):
        read(content)


def test_separators_other_than_line_ends_stay_in_the_text() -> None:
    text = "a\u2028b\x0bc\x85d\x1ce"
    assert read(f"question,answer\n{text},{text}\n").pairs == [(text, text)]


def test_chunks_are_bounded_by_rows_and_by_text() -> None:
    content = ("question,answer\n" + "q,a\n" * 10_000).encode()
    reader = read(content).reader
    assert [len(chunk) for chunk in reader.chunks(max_rows=4000)] == [4000, 4000, 2000]
    long_texts = ("question,answer\n" + f"q,{'x' * 5000}\n" * 400).encode()
    sizes = [len(chunk) * 5000 for chunk in read(long_texts).reader.chunks(max_bytes=200_000)]
    assert max(sizes) <= 200_000 + 2 * text_module.BLOCK_BYTES


def test_a_gzipped_file_is_read_like_a_plain_one() -> None:
    found = read(gzip.compress(b"question,answer\nq1,a1\n") + gzip.compress(b"q2,a2\n"))
    assert (found.sniffed.compression, found.pairs) == ("gzip", [("q1", "a1"), ("q2", "a2")])


def test_a_header_without_rows_is_an_import_of_nothing() -> None:
    assert read("question,answer\n").rows == []


@pytest.mark.parametrize(
    ("content", "mapping", "code"),
    [
        ("name,city\nx,y\n", None, "COLUMNS_NOT_FOUND"),
        ("name,city\nx,y\n", {"question": "Name", "answer": "town"}, "MAPPING_COLUMN_MISSING"),
        (",".join(f"c{number}" for number in range(3000)) + "\n", None, "TOO_MANY_COLUMNS"),
    ],
)
def test_a_table_without_a_pair_is_rejected(content: str, mapping: dict[str, str] | None, code: str) -> None:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, mapping)
    assert rejection.value.code == code
    assert len(rejection.value.message) < 1500


def test_an_explicit_mapping_reads_columns_of_any_name() -> None:
    found = read("name,city\nx,y\n", {"question": "CITY", "answer": "name"})
    assert found.pairs == [("y", "x")]


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_our_own_errors(data: bytes) -> None:
    assume(data)
    for prefix in (
        b"",
        b"question,answer\n",
        b'[{"question": "q", "answer": "a"},',
        b'{"question":"q","answer":"a"}\n',
    ):
        with suppress(FileRejectedError):
            read(prefix + data)
