"""One real PostgreSQL for a whole test run, however many processes share the tests, and databases in it within 0.05 s."""

from __future__ import annotations

import secrets
import shutil
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
    """Databases in one server, as copies of templates that the first process makes. They are named by their URLs."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._make_templates()

    def empty(self) -> str:
        """One with nothing in it but the extension `vector`."""
        return self._copy(EMPTY)

    def migrated(self) -> str:
        """One that has the newest schema too."""
        return self._copy(MIGRATED)

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

    def _make_templates(self) -> None:
        """A template gets its name once it is complete: a process that is killed here leaves none."""
        with self._connect() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
            known = {name for (name,) in connection.execute("SELECT datname::text FROM pg_database")}
            for name, origin in ((EMPTY, "template0"), (MIGRATED, EMPTY)):
                if name in known:
                    continue
                draft = self._copy(origin)
                with psycopg.connect(draft, autocommit=True) as made:
                    made.execute("CREATE EXTENSION IF NOT EXISTS vector")
                if name == MIGRATED:
                    ensure_schema(draft)
                connection.execute(f"ALTER DATABASE {draft.rpartition('/')[2]} RENAME TO {name}".encode())

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._server_url, autocommit=True)

    def _url(self, name: str) -> str:
        return f"{self._server_url.rpartition('/')[0]}/{name}"
