"""Binary COPY: rows go to PostgreSQL at 100k+ a second, an order of magnitude above INSERT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg
from psycopg import sql

RAW = "bytea"
"""Column type for values that are bytes in the receiver's binary form already (uuid, jsonb, halfvec): they pass as they are."""

_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""Signature, flags and the length of no extension, as COPY's binary format begins (PostgreSQL's documentation of COPY)."""
_COPY_END = b"\xff\xff"
_JSONB_VERSION = b"\x01"
_INT64 = range(-(2**63), 2**64)


def copy_rows(
    connection: psycopg.Connection, table: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]
) -> None:
    """Append `rows` to `table`; `columns` are (name, type) pairs, with RAW for values that are encoded already."""
    statement = _statement(table, [column for column, _ in columns])
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([kind for _, kind in columns])
        for row in rows:
            copy.write_row(row)


def copy_packed(connection: psycopg.Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Append `rows`, which are in COPY's binary form already: any number of them in each piece."""
    with connection.cursor() as cursor, cursor.copy(_statement(table, columns)) as copy:
        copy.write(_COPY_HEADER)
        for piece in rows:
            copy.write(piece)
        copy.write(_COPY_END)


def _statement(table: str, columns: Sequence[str]) -> sql.Composed:
    schema, _, name = table.rpartition(".")
    target = sql.Identifier(schema, name) if schema else sql.Identifier(name)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(target, names)


def jsonb(value: Any) -> bytes | None:
    """The binary jsonb of a JSON value, None for an empty one.

    What PostgreSQL or JSON refuse is replaced visibly: NUL and lone surrogates by U+FFFD, integers over 64 bits by their
    digits as text.
    """
    if not value:
        return None
    try:
        dumped = orjson.dumps(value)
    except (TypeError, ValueError):
        dumped = orjson.dumps(_presentable(value))
    if b"\\u0000" in dumped:
        dumped = orjson.dumps(_presentable(value))
    return _JSONB_VERSION + dumped


def presentable_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD, as PostgreSQL can hold it."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _presentable(value: Any) -> Any:
    if isinstance(value, str):
        return presentable_text(value)
    if isinstance(value, dict):
        return {presentable_text(str(key)): _presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return str(value)
    return value if isinstance(value, bool | int | float | None) else presentable_text(str(value))
