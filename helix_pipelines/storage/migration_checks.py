"""`helix db check`: what could go wrong in a migration, found before it is run on data that matters."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.storage.backup import backup, restore
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.revisions import DECLARATION, Revision, revisions
from helix_pipelines.storage.schema import current_revision, migrate, sqlalchemy_url

SHOWN = 5
"""Differences named in a finding; the first ones tell where to look."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what was looked at, or what is wrong and what to do."""

    check: str
    ok: bool
    detail: str


def check(url: str | None, *, copy: bool = False) -> list[Finding]:
    """Check all revisions; with a URL also by running them in scratch databases on that server, dropped afterwards.

    With `copy`, the database's own data is migrated, too, in a copy: it takes the space and about the time of a backup and
    a restore. The database itself is only read.
    """
    known = revisions()
    findings = [_head_is_newest(known), *map(_destruction_is_declared, known), *map(_goes_back, known)]
    if url is not None:
        findings += [
            _tried("up_down_up", lambda: _up_down_up(url, known)),
            _tried("models_match", lambda: _models_match(url)),
        ]
        if copy:
            findings.append(_tried("copy", lambda: _upgrade_copy(url)))
    return findings


def _head_is_newest(known: list[Revision]) -> Finding:
    numbers = [revision.constant("revision") for revision in known]
    follows = [revision.constant("down_revision") for revision in known]
    if follows != [None, *numbers[:-1]]:
        detail = (
            f"The revisions are not one line: {numbers} follow {follows}. Give each the one before as down_revision."
        )
        return Finding("one_line", ok=False, detail=detail)
    if numbers[-1] != HEAD:
        detail = (
            f"The newest revision is {numbers[-1]}, HEAD says {HEAD}: correct it in storage/migrations/__init__.py."
        )
        return Finding("head_is_newest", ok=False, detail=detail)
    return Finding("head_is_newest", ok=True, detail=f"{len(known)} revisions, the newest is {HEAD}")


def _destruction_is_declared(revision: Revision) -> Finding:
    steps, reason = revision.destructive_steps(), revision.constant(DECLARATION)
    name = f"destruction_is_declared[{revision.name}]"
    if not steps:
        return Finding(name, ok=True, detail="destroys nothing")
    if reason:
        return Finding(name, ok=True, detail=f"{', '.join(steps)}: {reason}")
    detail = (
        f'{", ".join(steps)} without {DECLARATION} = "reason" in the revision; say why the data may go, or keep it.'
    )
    return Finding(name, ok=False, detail=detail)


def _goes_back(revision: Revision) -> Finding:
    name = f"goes_back[{revision.name}]"
    if revision.goes_back():
        return Finding(name, ok=True, detail="has a downgrade")
    return Finding(name, ok=False, detail="downgrade() is missing or does nothing: write the way back.")


def _tried(name: str, attempt: Callable[[], str]) -> Finding:
    """Run a check that touches the server; what it raises is what it found."""
    try:
        return Finding(name, ok=True, detail=attempt())
    except (_ContradictedError, SetupError, psycopg.Error) as error:
        return Finding(name, ok=False, detail=str(error).strip())
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy.", "alembic.")):
            raise
        return Finding(name, ok=False, detail=str(error).strip())


class _ContradictedError(Exception):
    """A check's claim does not hold; the message is the finding."""


def _up_down_up(url: str, known: list[Revision]) -> str:
    """Take every revision up, down and up again: down restores the former shape, up gives the same one twice."""
    began = time.monotonic()
    with scratch_database(url) as scratch:
        below = "base"
        for revision in known:
            number = str(revision.constant("revision"))
            before = _shape(scratch)
            migrate(scratch, number)
            after = _shape(scratch)
            migrate(scratch, below)
            _expect_equal(before, _shape(scratch), f"{revision.name}: the downgrade does not restore what was before")
            migrate(scratch, number)
            _expect_equal(after, _shape(scratch), f"{revision.name}: a second upgrade gives another schema")
            below = number
    return f"{len(known)} revisions up, down and up in {time.monotonic() - began:.1f} s"


def _models_match(url: str) -> str:
    """Compare what the revisions make with what the models would make, as PostgreSQL itself describes both.

    Alembic's own comparison knows neither check constraints nor identity columns. Triggers, functions and the view are not
    part of the models.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from helix_pipelines.storage.tables import metadata

    with scratch_database(url) as migrated, scratch_database(url) as modelled:
        migrate(migrated, HEAD)
        with psycopg.connect(modelled, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA helix")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        metadata.create_all(create_engine(sqlalchemy_url(modelled), poolclass=NullPool))
        views = {line.split()[1] for line in _shape(migrated) if line.startswith("view ")}
        tables = [line for line in _shape(migrated) if _of_tables(line, views)]
        _expect_equal(_shape(modelled), tables, "the revisions do not make what storage/tables.py describes")
    return f"{len(metadata.tables)} tables as in storage/tables.py"


def _of_tables(line: str, views: set[str]) -> bool:
    kind, name = line.split()[:2]
    return kind not in {"trigger", "function", "view"} and name.partition(".")[0] not in views


def _upgrade_copy(url: str) -> str:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, scratch_database(url) as scratch:
        restore(scratch, backup(url, Path(folder) / "copy.dump"))
        with psycopg.connect(scratch) as connection:
            before = current_revision(connection)
        copied = time.monotonic()
        migrate(scratch, HEAD)
        ended = time.monotonic()
    return f"from {before or 'nothing'} to {HEAD} in {ended - copied:.1f} s, after {copied - began:.1f} s of copying"


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """An empty database beside the one at `url`, for a block; gives its URL.

    Raises SetupError (SCRATCH_REFUSED) where the user may not create databases.
    """
    name = f"helix_check_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        except psycopg.errors.InsufficientPrivilege as error:
            raise SetupError(
                "SCRATCH_REFUSED", "This user may not create databases: ALTER ROLE ... CREATEDB, or check elsewhere."
            ) from error
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def _shape(url: str) -> list[str]:
    """Every object of schema helix in words; Alembic's own table, which a first migration leaves, is not part of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS helix")
        connection.execute("SET search_path = pg_catalog")  # so that names are printed with their schema
        return [line for (line,) in connection.execute(load("schema_shape")) if "alembic_version" not in line]


def _expect_equal(wanted: list[str], found: list[str], claim: str) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        shown = "; ".join([*(f"missing {line}" for line in missing), *(f"left over {line}" for line in extra)][:SHOWN])
        raise _ContradictedError(f"{claim}: {shown}")
