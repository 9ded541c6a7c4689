"""Arrays as statement parameters, for values that are in PostgreSQL's binary form already: no value becomes a Python object."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

_HEADER = struct.Struct(">iiIii")
"""Dimensions, whether there are NULLs, the elements' type, then length and lower bound of the only dimension (array_recv)."""


class BinaryArray(bytes):
    """An array's binary form. The statement names its type by a cast, as in `%(keys)s::uuid[]`."""


class _BinaryArrayDumper(Dumper):
    """Sends the bytes as they are, and leaves the type to the statement."""

    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> BinaryArray:
        return obj


def binary_array(connection: psycopg.Connection, kind: str, count: int, elements: Iterable[bytes]) -> BinaryArray:
    """An array of `count` values of the type named `kind`; `elements` are pieces of any number of them.

    Each value has its length before it, as four bytes. The type is looked up once a connection: those of extensions have other
    numbers in each database.
    """
    if (known := connection.adapters.types.get(kind)) is None:
        known = TypeInfo.fetch(connection, kind)
        if known is None:
            raise LookupError(f"the database has no type {kind}")
        known.register(connection)
    connection.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)
    return BinaryArray(_HEADER.pack(1, 0, known.oid, count, 1) + b"".join(elements))
