"""Arrays of values that are in PostgreSQL's binary form already."""

from __future__ import annotations

import struct
import uuid

import psycopg
import pytest

from helix_pipelines.storage.arrays import binary_array

KEYS = [uuid.uuid4() for _ in range(3)]
PIECES = [b"\x00\x00\x00\x10" + key.bytes for key in KEYS]


def test_keys_arrive_in_order_whatever_pieces_they_come_in(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        keys = binary_array(connection, "uuid", 3, [PIECES[0], PIECES[1] + PIECES[2]])
        row = connection.execute("SELECT %s::uuid[]", [keys]).fetchone()
    assert row == (KEYS,)


def test_a_type_of_an_extension_is_looked_up(database_url: str) -> None:
    vector = struct.pack(">ihhee", 8, 2, 0, 0.5, -1.0)
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT (%s::halfvec[])[1]::text", [binary_array(connection, "halfvec", 1, [vector])]
        ).fetchone()
    assert row == ("[0.5,-1]",)


def test_an_array_may_be_empty(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT cardinality(%s::uuid[])", [binary_array(connection, "uuid", 0, ())]).fetchone()
    assert row == (0,)


def test_an_unknown_type_is_named(database_url: str) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(LookupError, match="quartervec"):
        binary_array(connection, "quartervec", 0, ())
