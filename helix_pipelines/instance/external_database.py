"""A PostgreSQL of the operator's, named by `HELIX_DATABASE_URL`: usable or refused with what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from helix_pipelines.resilience.errors import SetupError

if TYPE_CHECKING:
    import psycopg

MIN_SERVER = 150_000
"""PostgreSQL 15, as the server states versions."""
MIN_PGVECTOR = (0, 8)
"""Iterative scans of HNSW came with 0.8; without them a filtered search misses most of its hits."""
CONNECT_TIMEOUT = 10

FACTS = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding'),
       pg_is_in_recovery(),
       (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
"""


def neutral_url(url: str) -> str:
    """`url` as libpq reads it: without SQLAlchemy's driver, and `postgresql` where it says `postgres`.

    Raises SetupError (DATABASE_URL_INVALID); the message does not repeat the URL, which holds a password.
    """
    found = re.fullmatch(r"postgres(?:ql)?(?:\+\w+)?(://.+)", url.strip())
    if found is None:
        raise SetupError(
            "DATABASE_URL_INVALID",
            "HELIX_DATABASE_URL has to read postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        )
    return f"postgresql{found[1]}"


def check_database(url: str, *, may_change: bool = True) -> None:
    """Make sure that the database can carry Helix; creates or updates the extension `vector` if it `may_change` the database.

    Raises SetupError: DATABASE_URL_INVALID, DATABASE_UNREACHABLE, DATABASE_TOO_OLD, DATABASE_READ_ONLY, DATABASE_NOT_UTF8,
    PGVECTOR_MISSING, PGVECTOR_TOO_OLD, PGVECTOR_REFUSED.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SetupError(
            "DATABASE_URL_INVALID",
            "HELIX_DATABASE_URL cannot be read. Special characters of a password are written as %XX: @ as %40, / as %2F.",
        ) from None  # libpq's message quotes parts of the URL
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT, autocommit=True) as connection:
            _check(connection, may_change=may_change)
    except psycopg.OperationalError as error:
        raise SetupError(
            "DATABASE_UNREACHABLE",
            f"The database of HELIX_DATABASE_URL cannot be used: {error}. Check host, port, name, user and password; without "
            "the variable Helix starts its own PostgreSQL.",
        ) from error


def _check(connection: psycopg.Connection, *, may_change: bool) -> None:
    row = connection.execute(FACTS).fetchone()
    if row is None:  # SELECT without FROM gives a row
        raise SetupError(
            "DATABASE_UNREACHABLE", "The database of HELIX_DATABASE_URL gives no answer. Is it a PostgreSQL?"
        )
    number, version, encoding, read_only, installed, available = row
    if number < MIN_SERVER:
        raise SetupError(
            "DATABASE_TOO_OLD",
            f"The database is PostgreSQL {version}; Helix needs 15 or later. Upgrade it or name another.",
        )
    if read_only:
        raise SetupError(
            "DATABASE_READ_ONLY", "The database is a read-only replica. Name the primary server in HELIX_DATABASE_URL."
        )
    if encoding != "UTF8":
        raise SetupError(
            "DATABASE_NOT_UTF8",
            f"The database is encoded as {encoding}. Make one for Helix: "
            "CREATE DATABASE helix ENCODING 'UTF8' TEMPLATE template0;",
        )
    _provide_pgvector(connection, installed, available, may_change=may_change)


def _provide_pgvector(
    connection: psycopg.Connection, installed: str | None, available: str | None, *, may_change: bool = True
) -> None:
    import psycopg

    if installed is not None and _release(installed) >= MIN_PGVECTOR:
        return
    if available is None:
        raise SetupError(
            "PGVECTOR_MISSING",
            "The server has no extension pgvector. Install it there (Debian: apt install postgresql-NN-pgvector), version 0.8 or "
            "later.",
        )
    if _release(available) < MIN_PGVECTOR:
        raise SetupError(
            "PGVECTOR_TOO_OLD",
            f"The server has pgvector {available}; Helix needs 0.8 or later. Upgrade the package there.",
        )
    if not may_change:
        return
    statement = "CREATE EXTENSION IF NOT EXISTS vector" if installed is None else "ALTER EXTENSION vector UPDATE"
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise SetupError(
            "PGVECTOR_REFUSED",
            f"This database user may not set up pgvector. Let an administrator run in this database: {statement};",
        ) from error


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
