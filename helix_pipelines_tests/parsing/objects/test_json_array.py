from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing import text
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.json_elements import JsonElements
from helix_pipelines.parsing.objects.strict_json import StrictDecoder
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

GOOD = '{"question": "q", "answer": "a"}'
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def elements(blocks: list[str]) -> list[Any]:
    return [value for _, value, _ in JsonElements(iter(blocks), StrictDecoder(100), ParseLimits())]


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20), st.sampled_from([None, 2]))
def test_what_is_written_is_read(pairs: list[tuple[str, str]], indent: int | None) -> None:
    records = [{"question": question, "answer": answer} for question, answer in pairs]
    found = read(json.dumps(records, indent=indent))
    assert (found.sniffed.format, found.pairs) == ("json", pairs)


@given(st.lists(VALUE, max_size=5), st.integers(1, 5), st.sampled_from([None, 1]))
def test_where_blocks_end_makes_no_difference(values: list[Any], size: int, indent: int | None) -> None:
    written = json.dumps(values, indent=indent)
    assert elements([written[at : at + size] for at in range(0, len(written), size)]) == values


@settings(max_examples=200)
@given(st.text(alphabet='[]{}",: 1e-.tnu\\a\n', max_size=30))
def test_what_python_calls_invalid_is_rejected_and_nothing_else(content: str) -> None:
    try:
        expected = json.loads("[" + content)
    except ValueError:
        with pytest.raises(FileRejectedError, match="INVALID_JSON"):
            elements(["[" + content])
    else:
        assert elements(["[" + content]) == expected


@pytest.mark.parametrize(
    ("element", "code"),
    [
        ("null", RowCode.NOT_A_RECORD),
        ('"q"', RowCode.NOT_A_RECORD),
        ('{"question": "q"}', RowCode.ANSWER_MISSING),
        ('{"question": "q", "answer": "a", "answer": "b"}', RowCode.DUPLICATE_KEY),
        ('{"question": "q", "answer": Infinity}', RowCode.NON_FINITE_NUMBER),
        ('{"question": "q", "answer": "\\udfaa"}', RowCode.LONE_SURROGATE),
        ('{"question": "q", "answer": "\\u0000"}', RowCode.NUL_BYTE),
        ('{"question": "q", "answer": "a", "x": ' + "[" * 101 + "]" * 101 + "}", RowCode.NESTED_TOO_DEEPLY),
    ],
)
def test_a_bad_element_is_refused_with_its_position_between_good_ones(element: str, code: RowCode) -> None:
    found = read(f"[{GOOD}, {element}, {GOOD}]")
    assert found.pairs == [("q", "a")] * 2
    assert found.refused == [(2, code)]


def test_undecodable_bytes_refuse_their_element_only() -> None:
    found = read(b"[" + GOOD.encode() * 1 + b"," + b'{"question": "\xff", "answer": "' + b"x" * 200 + b'"}]')
    assert found.refused == [(2, RowCode.BAD_ENCODING)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[]", "EMPTY_FILE"),
        (f"[{GOOD}, {GOOD}", "INVALID_JSON"),
        (f"[{GOOD} {GOOD}]", "INVALID_JSON"),
        (f"[{GOOD},]", "INVALID_JSON"),
        (f"[{GOOD}] x", "INVALID_JSON"),
        ("[1, 2]", "UNSUPPORTED_LAYOUT"),
        ('{"data": [{"paragraphs": []}]}', "UNSUPPORTED_LAYOUT"),
        ('[{"name": "x"}]', "COLUMNS_NOT_FOUND"),
        ("[" * 100_000, "NESTED_TOO_DEEPLY"),
        ('[{"question": "' + "x" * 100_000 + '"}]', "RECORD_TOO_LONG"),
    ],
)
def test_an_array_that_is_no_list_of_records_is_rejected_before_its_first_row(content: str, code: str) -> None:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, limits=ParseLimits(cell_chars=10_000))
    assert rejection.value.code == code
    assert rejection.value.__cause__ is None or not isinstance(rejection.value.__cause__, RecursionError)


def test_a_single_object_is_a_record_of_its_own() -> None:
    assert read(GOOD).pairs == [("q", "a")]


def test_an_array_over_many_blocks_is_read_and_resumed() -> None:
    count = 3 * text.BLOCK_BYTES // len(GOOD)
    content = "[" + ",".join([GOOD] * count) + "]"
    assert len(read(content).rows) == count
    assert [row.row_number for row in read(content, skip=count - 1).rows] == [count]


def test_nesting_up_to_the_limit_is_fine() -> None:
    decoder = StrictDecoder(100)
    decoder.decode("[" * 100 + "]" * 100)
    with pytest.raises(RefusedRowError, match="NESTED_TOO_DEEPLY"):
        decoder.decode("[" * 101 + "]" * 101)
