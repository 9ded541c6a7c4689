"""From a column of Arrow values to JSON values: what a typed column says, spelled as the other formats spell it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from helix_pipelines.parsing.objects.strict_json import INTEGER_DIGITS

LARGEST_INTEGER = 10**INTEGER_DIGITS
UNREADABLE = "\udcff"
"""Stands for a text inside a list or an object that is not UTF-8; whoever looks for undecoded bytes finds it."""


def column_values(column: pa.Array, *, as_texts: bool) -> list[Any]:
    """One JSON value a row, None for null.

    Dates and times are ISO 8601, decimals texts with all their digits, NaN is null, integers of more than 18 digits are
    texts. Bytes are texts where they are UTF-8, as many writers leave the type of texts out; where they are not, they stay
    in the text as undecoded bytes (`text.undecoded`) with `as_texts`, and are told in words without.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if _is_text(kind):
        return _texts(column)
    if _is_binary(kind):
        return [None if value is None else _text_of_bytes(value, as_text=as_texts) for value in column.to_pylist()]
    if pa.types.is_nested(kind):
        return [_nested_value(scalar) for scalar in column]
    if pa.types.is_temporal(kind):
        return _moments(column)
    return [json_value(value) for value in column.to_pylist()]


def json_value(value: Any) -> Any:
    """The JSON value of a Python value that Arrow hands out, however deep it is."""
    return next(spell for kinds, spell in _SPELLINGS if isinstance(value, kinds))(value)


def _number(value: float) -> float | int | str | None:
    """NaN is how pandas writes a missing number, and 42.0 how it writes 42 beside one."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() and abs(value) < LARGEST_INTEGER else value


def _texts(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in values]


def _text_of_bytes(value: bytes, *, as_text: bool) -> str:
    if as_text:
        return value.decode("utf-8", "surrogateescape")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return text if "\0" not in text else f"[{len(value):,} bytes of binary data]"


def _nested_value(scalar: pa.Scalar) -> Any:
    try:
        return json_value(scalar.as_py(maps_as_pydicts="lossy"))
    except UnicodeDecodeError:
        return UNREADABLE


def _moments(column: pa.Array) -> list[Any]:
    """Python's types hold microseconds and the years 1 to 9999; what is beyond is spelled by Arrow."""
    kind = column.type
    try:
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", kind.tz), safe=False)
        elif pa.types.is_duration(kind):
            column = column.cast(pa.duration("us"), safe=False)
        return [json_value(value) for value in column.to_pylist()]
    except (pa.ArrowException, OverflowError, ValueError, LookupError):
        return [None if value is None else str(value) for value in column.cast(pa.string()).to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_binary(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_one(kind) for is_one in kinds)


def _integer(value: int) -> int | str:
    return value if abs(value) < LARGEST_INTEGER else str(value)


def _as_it_is(value: Any) -> Any:
    return value


_SPELLINGS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((str, bool, type(None)), _as_it_is),
    (int, _integer),
    (float, _number),
    (dict, lambda value: {str(key): json_value(item) for key, item in value.items()}),
    ((list, tuple), lambda value: [json_value(item) for item in value]),
    (Decimal, lambda value: format(value, "f")),
    (bytes, lambda value: _text_of_bytes(value, as_text=False)),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    (object, str),
)
"""Python type -> its JSON spelling; a truth value is an int to Python, so the order counts."""
