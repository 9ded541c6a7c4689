"""One real PostgreSQL for a whole test run, however many processes share the tests, and databases in it within 0.05 s."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.instance.shared_service import SharedService
from helix_pipelines.storage.schema import ensure_schema

NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "wal_compression": "off"}
"""A test's database need not survive a power cut, but a kill: so commits stay synchronous."""

EMPTY = "template_empty"
MIGRATED = "template_migrated"
TEMPLATE_LOCK = 1
"""Advisory lock of who makes the templates."""


class ThrowawayPostgres(EmbeddedPostgres):
    """A server of which nothing is left when it has been stopped."""

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def shared_postgres(folder: Path) -> SharedService[str]:
    """A process's part in the server that lives in `folder` until the last process leaves it."""
    return SharedService(ThrowawayPostgres(folder / "postgres", NOT_DURABLE), folder / "postgres.users")


class Databases:
    """Databases in one server, as copies of templates that whoever needs one first makes. They are named by their URLs."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._known: set[str] = set()

    def empty(self) -> str:
        """One with nothing in it but the extension `vector`."""
        self._provide(EMPTY, "template0", _add_vector)
        return self._copy(EMPTY)

    def migrated(self) -> str:
        """One that has the newest schema too."""
        self._provide_schema()
        return self._copy(MIGRATED)

    def prepared(self, name: str, prepare: Callable[[str], None]) -> str:
        """One with the newest schema and what `prepare` puts into it, which is called once in a test run for each `name`."""
        self._provide_schema()
        self._provide(name, MIGRATED, prepare)
        return self._copy(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self._connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)".encode())

    def _copy(self, template: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        with self._connect() as connection:
            # Copied as files: the other way, through the log, takes eight times as long.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        return self._url(name)

    def _provide_schema(self) -> None:
        self._provide(EMPTY, "template0", _add_vector)
        self._provide(MIGRATED, EMPTY, ensure_schema)

    def _provide(self, template: str, origin: str, prepare: Callable[[str], None]) -> None:
        """Make a template where there is none. It gets its name once it is complete: whoever is killed here leaves none."""
        if template in self._known:
            return
        with self._connect() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [template]).fetchone():
                draft = self._copy(origin)
                prepare(draft)
                connection.execute(f"ALTER DATABASE {draft.rpartition('/')[2]} RENAME TO {template}".encode())
        self._known.add(template)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._server_url, autocommit=True)

    def _url(self, name: str) -> str:
        return f"{self._server_url.rpartition('/')[0]}/{name}"


def _add_vector(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
