"""The database session of a rehearsal: tables of its own that vanish with it, and no right to write to any other.

The statements `rehearse_*.sql` mirror those of an import; their order and rules are the import's. They see the knowledge base as
it is when each of them runs, hold no lock from one to the next, and keep rows on disk where they are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from helix_pipelines.storage.copying import copy_rows
from helix_pipelines.storage.queries import load

MEMORY = "64MB"
"""Of the server's memory for the session's tables; what is beyond it goes to temporary files."""
ANALYZE_ROWS = 2_000
"""Rows of a file from which a bad plan costs more than a look at the tables."""
FETCH_ROWS = 5_000
BULK_TABLES = ("rehearsed_row", "rehearsed_text", "rehearsed_occurrence", "rehearsed_pair")
TABLES_OF_FILES = ("rehearsed_row", "rehearsed_refusal", "rehearsed_text")
FIRST_KEY = 1 << 62
"""Row keys of files that have no import: above those of all imports, and in the order of the files."""


class Scratch:
    """The tables of one rehearsal, on an autocommit connection that is used for nothing else afterwards.

    `has_schema` says whether the database has a knowledge base; in one that has none, every row is new.
    """

    def __init__(self, connection: psycopg.Connection, *, has_schema: bool) -> None:
        self._connection = connection
        self._new_ids: dict[tuple[str, ...], int] = {}
        connection.prepare_threshold = None  # a plan made for the first, small file would serve all others
        connection.execute(f"SET temp_buffers = '{MEMORY}'".encode())
        connection.execute(load("rehearse_tables"))
        connection.execute(load("rehearse_known" if has_schema else "rehearse_unknown"))
        connection.execute("SET default_transaction_read_only = on")

    def place(self, collection: str, source: str) -> tuple[int, int]:
        """Ids of a collection and of its source; negative ones for those that do not exist yet."""
        found = self.one("rehearse_place", {"collection": collection, "source": source}) or {}
        collection_id = found.get("collection_id") or self._new_id(collection)
        return collection_id, found.get("source_id") or self._new_id(collection, source)

    def begin_source(self, source_id: int) -> None:
        """Take over the rows of a source, once."""
        begun = self._connection.execute(
            "INSERT INTO rehearsed_source VALUES (%s) ON CONFLICT DO NOTHING", [source_id]
        ).rowcount
        if begun and self.run("rehearse_source", {"source": source_id}) >= ANALYZE_ROWS:
            self._connection.execute("ANALYZE rehearsed_occurrence")

    def append(self, table: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table of the rehearsal by COPY; `columns` as `copy_rows` has them."""
        if rows:
            copy_rows(self._connection, table, columns, rows)

    def forget(self, file: int) -> None:
        """Leave nothing of a file that was refused, or that has to be read again."""
        for table in TABLES_OF_FILES:
            statement = sql.SQL("DELETE FROM {} WHERE file = %s").format(sql.Identifier(table))
            self._connection.execute(statement, [file])

    def refresh_statistics(self, rows: int) -> None:
        """Let PostgreSQL look at the tables after a file of so many rows."""
        if rows >= ANALYZE_ROWS:
            self._connection.execute(f"ANALYZE {', '.join(BULK_TABLES)}".encode())

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run a named statement; how many rows it changed."""
        return self._connection.execute(load(statement), parameters).rowcount

    def one(self, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """The first row of a named statement."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load(statement), parameters).fetchone()

    def all(self, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a named statement that has few of them."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load(statement), parameters).fetchall()

    def stream(self, statement: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a named statement, however many, without holding them. The transaction ends with the last one."""
        with self._connection.transaction(), self._connection.cursor("rehearsed") as cursor:
            cursor.itersize = FETCH_ROWS
            cursor.execute(load(statement), parameters)
            yield from cursor

    def append_all(self, table: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> None:
        """Add rows that come from `stream`, in portions: a connection does one thing at a time."""
        portion: list[Sequence[Any]] = []
        for row in rows:
            portion.append(row)
            if len(portion) == FETCH_ROWS:
                self.append(table, columns, portion)
                portion = []
        self.append(table, columns, portion)

    def _new_id(self, *name: str) -> int:
        return self._new_ids.setdefault(name, -1 - len(self._new_ids))


def first_key(file: int) -> int:
    """What a file's ordinals are added to for the keys of its new rows."""
    return FIRST_KEY + (file << 32)
