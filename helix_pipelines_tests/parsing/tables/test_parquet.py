from __future__ import annotations

import datetime as dt
import io
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import Read, read


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, **options)
    return target.getvalue()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300).filter(
    str.strip
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20),
    st.sampled_from(["NONE", "SNAPPY", "ZSTD"]),
    st.integers(1, 25),
)
def test_what_is_written_is_read(pairs: list[tuple[str, str]], compression: str, group: int) -> None:
    questions, answers = (list(column) for column in zip(*pairs, strict=True))
    content = parquet({"question": questions, "answer": answers}, compression=compression, row_group_size=group)
    assert read(content).pairs == pairs


def one_value(values: pa.Array) -> Any:
    """What becomes of a column with one value beside a pair."""
    return extra_of(read(parquet({"question": ["q"], "answer": ["a"], "x": values})))


def extra_of(found: Read) -> Any:
    assert found.pairs == [("q", "a")]
    return found.rows[0].extra.get("x")


def code_of(content: bytes, **options: Any) -> str:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, **options)
    assert len(rejection.value.message) < 1500
    return rejection.value.code


def test_rows_come_in_order_over_all_row_groups_and_skip_as_everywhere() -> None:
    content = parquet({"Frage": [f"q{at}" for at in range(3000)], "Antwort": ["a"] * 3000}, row_group_size=700)
    found = read(content)
    assert found.sniffed.format == "parquet"
    assert found.reader.mapping == {"question": "Frage", "answer": "Antwort"}
    assert [(row.row_number, row.question) for row in found.rows] == [(at + 1, f"q{at}") for at in range(3000)]
    assert read(content, skip=2995).rows == found.rows[2995:]


def test_nulls_are_missing_texts_and_blank_rows_are_no_records() -> None:
    found = read(
        parquet({"question": ["q", None, " ", "r"], "answer": ["a", None, "", None], "id": [7, None, None, 8]})
    )
    assert found.pairs == [("q", "a")]
    assert found.rows[0].external_id == "7"
    assert found.refused == [(2, "ANSWER_MISSING")]


def test_a_list_of_answers_becomes_one_text_and_is_kept() -> None:
    found = read(parquet({"question": ["q"], "answer": [["a", "b"]]}))
    assert found.pairs == [("q", "a; b")]
    assert found.rows[0].extra == {"answer": ["a", "b"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([42]), 42),
        (pa.array([10**18]), "1000000000000000000"),
        (pa.array([42.0]), 42),
        (pa.array([float("nan")]), None),
        (pa.array([float("-inf")]), "-Infinity"),
        (pa.array([True]), True),
        (pa.array([Decimal("1.20")]), "1.20"),
        (pa.array([dt.date(2020, 1, 2)]), "2020-01-02"),
        (pa.array([1], pa.timestamp("ns", "UTC")), "1970-01-01T00:00:00+00:00"),
        (pa.array([1_500], pa.timestamp("ms")), "1970-01-01T00:00:01.500000"),
        (pa.array([dt.time(3, 4)]), "03:04:00"),
        (pa.array([b"plain"]), "plain"),
        (pa.array([b"\xff\x00"]), "[2 bytes of binary data]"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array([{"a": [1, None], "b": {"c": b"t"}}]), {"a": [1, None], "b": {"c": "t"}}),
        (pa.array([[("k", 1.5)]], pa.map_(pa.string(), pa.float64())), {"k": 1.5}),
    ],
)
def test_a_typed_value_becomes_a_json_value(values: pa.Array, expected: Any) -> None:
    assert one_value(values) == expected


def test_texts_that_no_database_holds_are_refused_row_by_row() -> None:
    raw = pa.array([b"caf\xe9", b"ok", b"ok"])
    questions = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    found = read(parquet({"question": questions, "answer": ["a", "n\0", "b"]}))
    assert found.refused == [(1, "BAD_ENCODING"), (2, "NUL_BYTE")]
    assert found.rows[0].raw == {"question": "caf\\xe9", "answer": "a"}
    assert found.pairs == [("ok", "b")]


def test_a_nested_text_is_looked_at_too() -> None:
    found = read(parquet({"question": ["q", "r"], "answer": [["a\0"], ["b"]]}))
    assert found.refused == [(1, "NUL_BYTE")]
    assert found.pairs == [("r", "b")]


def test_bytes_in_the_place_of_texts_are_read_as_texts() -> None:
    found = read(parquet({"question": [b"q\xff", "für".encode()], "answer": [b"a", b"b"]}))
    assert found.refused == [(1, "BAD_ENCODING")]
    assert found.pairs == [("für", "b")]


def test_a_long_text_is_a_matter_of_its_row() -> None:
    found = read(parquet({"question": ["q", "r"], "answer": ["x" * 200, "a"]}), limits=ParseLimits(cell_chars=100))
    assert found.refused == [(1, "CELL_TOO_LONG")]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ParseLimits(rows=2), "TOO_MANY_ROWS"),
        (ParseLimits(columns=1), "TOO_MANY_COLUMNS"),
        (ParseLimits(expanded_bytes=50), "EXPANDED_TOO_LARGE"),
        (ParseLimits(reader_memory=50), "ROW_GROUP_TOO_LARGE"),
        (ParseLimits(document_bytes=50), "DAMAGED_PARQUET"),
    ],
)
def test_limits_are_checked_by_the_footer_before_rows_are_read(limits: ParseLimits, code: str) -> None:
    assert code_of(parquet({"question": ["a", "b", "c"], "answer": ["a", "b", "c"]}), limits=limits) == code


def test_other_columns_are_named() -> None:
    with pytest.raises(FileRejectedError, match=r"COLUMNS_NOT_FOUND: .*alpha, beta"):
        read(parquet({"alpha": ["x"], "beta": ["y"]}))


def test_damage_anywhere_is_told_and_never_crashes() -> None:
    content = parquet({"question": ["q"] * 50, "answer": [f"a{at}" for at in range(50)]})
    for cut in range(4, len(content), 97):
        assert code_of(content[:cut]) == "DAMAGED_PARQUET"
    lying = content[:-8] + struct.pack("<L", 1 << 30) + b"PAR1"
    assert code_of(lying) == "DAMAGED_PARQUET"
    body = content[:4] + bytes(200) + content[204:]
    assert code_of(body) == "DAMAGED_PARQUET"


def test_an_encrypted_file_is_told_as_such() -> None:
    assert code_of(b"PARE" + bytes(100) + b"PARE") == "ENCRYPTED_FILE"
