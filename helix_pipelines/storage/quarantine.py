"""What could not be used: records refused while reading, and rows whose text the embedding service refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict, Unpack

import psycopg
from psycopg.rows import dict_row

from helix_pipelines.storage.queries import load

STAGES = ("parsing", "embedding")
NAME_CHARS = 40
"""How much of a column's name a reason quotes."""
FETCHED_ROWS = 500
"""Rows that are held at once: each may carry a whole record."""
Line = dict[str, Any]


class Filters(TypedDict, total=False):
    """Which rows are meant; what is not given stands for any.

    `column` is a column of the file or a role that the reason is about. `replayed` adds the rows that a replay has brought in
    since.
    """

    stage: str | None
    import_id: int | None
    batch: str | None
    code: str | None
    column: str | None
    collection: str | None
    source: str | None
    replayed: bool


class Place(NamedTuple):
    """What a quarantined row is known by: the import of its file, the sheet ("" where there is none), and its number there."""

    root: int
    sheet: str
    row: int


def list_quarantine(
    connection: psycopg.Connection, *, limit: int | None = None, **filters: Unpack[Filters]
) -> list[Line]:
    """One line a row with its import, path, sheet, row number, code and message; None stands for no limit.

    A row has a line for each stage that refused it. `question` is what was read of it, `raw` the record as it was, `root` the
    import that it is known by.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(load("quarantine_list"), {**_parameters(filters), "limit": limit}).fetchall()


@contextmanager
def streamed_quarantine(connection: psycopg.Connection, filters: Filters) -> Iterator[tuple[list[str], Iterator[Line]]]:
    """The names of the fields without a role, the most frequent first, and the lines, in one snapshot of the database.

    Lines come through a cursor of the server, so that any number of them is held a few at a time.
    """
    parameters = {**_parameters(filters), "limit": None}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        names = connection.execute(
            load("quarantine_fields").format(rows=load("quarantine_list")).encode(), parameters
        ).fetchall()
        with connection.cursor("quarantine", row_factory=dict_row) as cursor:
            cursor.itersize = FETCHED_ROWS
            cursor.execute(load("quarantine_list"), parameters)
            yield [name for (name,) in names], iter(cursor)


def find_quarantined(connection: psycopg.Connection, places: Sequence[Place]) -> dict[Place, Line]:
    """The rows at these places, also those that were replayed; where a row was refused more than once, the latest time."""
    chosen = {
        "roots": [place.root for place in places],
        "sheets": [place.sheet for place in places],
        "rows": [place.row for place in places],
        "limit": None,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        lines = cursor.execute(load("quarantine_list"), {**_parameters({"replayed": True}), **chosen}).fetchall()
    found: dict[Place, Line] = {}
    for line in lines:
        found.setdefault(Place(line["root"], line["sheet"] or "", line["row"]), line)
    return found


def _parameters(filters: Filters) -> dict[str, Any]:
    column = filters.get("column")
    return {
        "stage": filters.get("stage"),
        "import_id": filters.get("import_id"),
        "batch": filters.get("batch"),
        "code": filters.get("code"),
        "collection": filters.get("collection"),
        "source": filters.get("source"),
        "all": filters.get("replayed", False),
        "column": column,
        "column_quoted": column and repr(column[:NAME_CHARS]),
        "roots": None,
        "sheets": None,
        "rows": None,
    }
