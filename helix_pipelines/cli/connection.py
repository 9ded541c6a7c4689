"""The database as the commands that only read and write a little use it: one connection, no pool."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings

CONNECT_TIMEOUT = 10
"""Seconds; a database that is asleep or behind a lost route is reported instead of waited for."""


@contextmanager
def connected(settings: Settings) -> Iterator[psycopg.Connection]:
    """An autocommit connection to the deployment's database, for commands that need no more than one."""
    from helix_pipelines.instance.services import database

    with database(settings) as url, connect(url) as connection:
        _check_schema(url, connection)
        yield connection


@contextmanager
def database_url(settings: Settings, announce: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """The address of the deployment's database, which is started if it is the embedded one and does not run.

    The schema is created in an empty database; `announce` is told the address before that.

    Raises SetupError: DATABASE_UNREACHABLE, SCHEMA_OUTDATED, SCHEMA_TOO_NEW, and what starting the embedded database raises.
    """
    from helix_pipelines.instance.services import database

    with database(settings) as url:
        announce(url)
        with connect(url) as connection:
            _check_schema(url, connection)
        yield url


def connect(url: str) -> psycopg.Connection:
    """An autocommit connection. Raises SetupError (DATABASE_UNREACHABLE) with what the server or the network said."""
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="helix")
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise SetupError("DATABASE_UNREACHABLE", f"The database cannot be reached: {reason}") from error


def act_as_person(connection: psycopg.Connection) -> None:
    """Let the audit log name the person at the terminal for the rest of the transaction."""
    try:
        person = f"{getpass.getuser()} (helix)"
    except (OSError, KeyError):  # no such user in this container
        person = "helix"
    connection.execute("SELECT set_config('helix.actor', %s, true)", [person])


def _check_schema(url: str, connection: psycopg.Connection) -> None:
    from helix_pipelines.storage.migrations import HEAD
    from helix_pipelines.storage.schema import current_revision, ensure_schema

    if current_revision(connection) != HEAD:
        ensure_schema(url)
