"""`helix backup` and `helix restore`: everything that Helix and Dagster have recorded, in one file and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from helix_pipelines.cli.connection import connect
from helix_pipelines.cli.output import ExitCode, JsonOption, confirm, note, say, write_json
from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines.settings import load_settings

MB = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add both commands to the application."""
    app.command("backup")(back_up)
    app.command("restore")(bring_back)


def back_up(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write; by default a file of today in HELIX_HOME/backups.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Write the database to a file, in pg_dump's custom format: ledger, pairs, vectors, audit log, Dagster's runs.

    Imports may go on meanwhile; the file holds one moment. The original files are not in it: copy the store
    (HELIX_STORE_URL, by default `store` in HELIX_HOME) as well.

    Try:

    - `helix backup`
    - `helix backup /mnt/backups/helix.dump --json`
    """
    from helix_pipelines.instance.services import database
    from helix_pipelines.storage.backup import backup

    settings = load_settings()
    path = file or settings.home / "backups" / f"helix-{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    with _explained(path):
        if path.exists() and not force:
            raise UsageError("FILE_EXISTS", f"{path} is there already: name another file, or say --force.")
        path.parent.mkdir(parents=True, exist_ok=True)
    with database(settings) as url, _explained(path):
        backup(url, path.absolute())
        size = path.stat().st_size
    if as_json:
        write_json({"file": str(path.absolute()), "bytes": size})
    else:
        say(f"The database is in {path} ({size / MB:,.1f} MB). The original files are in {settings.store}.")
    return ExitCode.DONE


def bring_back(
    file: Annotated[Path, typer.Argument(help="A file that `helix backup` or a migration wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Replace what the database holds by a backup, all or nothing. Stop Helix first: `helix down`.

    Try: `helix restore var/backups/helix-20300101-120000.dump --yes`
    """
    from helix_pipelines.instance.services import database
    from helix_pipelines.storage.backup import restore
    from helix_pipelines.storage.migrations import HEAD
    from helix_pipelines.storage.schema import current_revision

    if not file.is_file():
        raise UsageError("PATH_MISSING", f"{file} does not exist.")
    if not yes:
        confirm(f"Replace all that the database holds by {file}?")
    with database(load_settings()) as url:
        with connect(url) as connection:
            _refuse_in_use(connection)
        restore(url, file)
        with connect(url) as connection:
            revision = current_revision(connection)
    if revision != HEAD:
        note(f"The backup is of revision {revision}, this release needs {HEAD}: run `helix db upgrade`.")
    if as_json:
        write_json({"file": str(file.absolute()), "revision": revision})
    else:
        say(f"The database holds what {file} held. `helix verify` checks it.")
    return ExitCode.DONE


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A file that cannot be written is wrong use: whoever named it has to name another one."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "FILE_NOT_WRITABLE", f"{path} cannot be written: {error.strerror}. Name another file."
        ) from error


def _refuse_in_use(connection: psycopg.Connection) -> None:
    """A restore drops tables: it would wait for whoever uses them, and they would meet other data afterwards."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ).fetchone()
    if row and row[0]:
        raise SetupError(
            "DATABASE_IN_USE",
            f"{row[0]} other connections use the database. Stop Helix (`helix down`) and what else reads it, then try again.",
        )
