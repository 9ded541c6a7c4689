"""The schema's version: created on an empty database, checked at every start, upgraded on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.storage.migrations import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = "helix_pipelines:storage/migrations"
"""Alembic's environment and revisions, as package data."""
MIGRATION_LOCK = 0x48454C49
"""Advisory lock that lets one process migrate while others wait for it ("HELI")."""


def current_revision(connection: psycopg.Connection) -> str | None:
    """The revision that the database is at, None where schema `helix` does not exist yet."""
    known = connection.execute("SELECT to_regclass('helix.alembic_version') IS NOT NULL").fetchone()
    if not known or not known[0]:
        return None
    row = connection.execute("SELECT version_num FROM helix.alembic_version").fetchone()
    return str(row[0]) if row else None


def ensure_schema(url: str) -> None:
    """Create the schema in a database that has none; refuse one of another version.

    Raises SetupError: SCHEMA_OUTDATED where `helix db upgrade` has to be run, SCHEMA_TOO_NEW where the code is older.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        revision = current_revision(connection)
    if revision == HEAD:
        return
    if revision is None:
        migrate(url, HEAD)
    elif revision < HEAD:
        raise SetupError(
            "SCHEMA_OUTDATED",
            f"The database is at revision {revision}, this version needs {HEAD}: run `helix db upgrade`.",
        )
    else:
        raise SetupError(
            "SCHEMA_TOO_NEW", f"The database is at revision {revision}, newer than this version's {HEAD}: update Helix."
        )


def migrate(url: str, revision: str) -> None:
    """Bring the database to `revision` (up or down), one process at a time; a no-op where it is there already."""
    from alembic import command

    with _alembic(url) as (config, current):
        if current == revision:
            return
        if revision == "base" or (current is not None and revision < current):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


@contextmanager
def _alembic(url: str) -> Iterator[tuple[Config, str | None]]:
    """Alembic's configuration on a connection that holds the migration lock, and the revision that it finds."""
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    with psycopg.connect(url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        current = current_revision(holder)
        engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
        with engine.connect() as connection:
            # Named, as a user called `helix` has our schema first in the search path, and a downgrade would drop it there.
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"))
            config = Config()
            config.set_main_option("script_location", SCRIPTS)
            config.attributes["connection"] = connection
            yield config, current
            connection.commit()


def sqlalchemy_url(url: str, driver: str = "psycopg") -> str:
    """The URL with its driver named: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3, Dagster needs psycopg2."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise SetupError(
            "DATABASE_URL_INVALID", "HELIX_DATABASE_URL must look like postgresql://user:password@host:5432/name."
        )
    return f"postgresql+{driver}://{rest}"
