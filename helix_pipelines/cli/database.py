"""`helix db`: the schema's version, and whether a migration is safe."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from helix_pipelines.cli.connection import connect
from helix_pipelines.cli.findings import print_findings
from helix_pipelines.cli.output import ExitCode, JsonOption, confirm, note, say, write_json
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(
        help="Bring the schema up to date, check migrations, go back.\n\nTry: `helix db check`", no_args_is_help=False
    )
    group.command()(upgrade)
    group.command()(check)
    group.command()(downgrade)
    app.add_typer(group, name="db")


def upgrade(as_json: JsonOption = False) -> int:
    """Bring the schema to the version that this release needs; a backup is taken first.

    Try: `helix db upgrade`
    """
    from helix_pipelines.storage.migrations import HEAD

    return _move_to(HEAD, as_json=as_json)


def downgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go back to; `base` removes all data.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Take the schema back to an earlier revision; a backup is taken first.

    Try: `helix db downgrade 0001 --yes`
    """
    from helix_pipelines.storage.migrations import HEAD

    if revision != "base" and not (revision.isdigit() and revision <= HEAD):
        raise UsageError(
            "REVISION_UNKNOWN", f"There is no revision {revision!r}; the newest is {HEAD}, the oldest 0001."
        )
    if not yes:
        confirm(f"Take the schema back to {revision}? What later revisions store is lost.")
    return _move_to(revision, as_json=as_json)


def check(
    copy: Annotated[bool, typer.Option("--copy", help="Try the migrations on a copy of the data, too.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Look for what could go wrong in a migration: destructive steps, missing ways back, errors in up, down and up again.

    Try:

    - `helix db check`
    - `helix db check --copy`
    """
    from helix_pipelines.instance.services import database
    from helix_pipelines.storage.migration_checks import check as check_migrations

    with database(load_settings()) as url:
        findings = check_migrations(url, copy=copy)
    return print_findings(findings, as_json=as_json)


def _move_to(revision: str, *, as_json: bool) -> int:
    """Migrate up or down, with a backup of what is there; nothing is done where the database is at the revision."""
    from helix_pipelines.instance.services import database
    from helix_pipelines.storage.schema import current_revision, migrate

    settings = load_settings()
    with database(settings) as url:
        with connect(url) as connection:
            before = current_revision(connection)
        backup = None
        if before is not None and before != revision:
            backup = _back_up(settings, url, before)
        if before != revision:
            migrate(url, revision)
    if as_json:
        write_json({"before": before, "revision": revision, "backup": str(backup) if backup else None})
    elif before == revision:
        say(f"The schema is at revision {revision} already.")
    else:
        say(f"The schema went from revision {before or 'none'} to {revision}.")
    return ExitCode.DONE


def _back_up(settings: Settings, url: str, revision: str) -> Path:
    from helix_pipelines.instance.home_files import make_folder
    from helix_pipelines.storage.backup import backup

    folder = settings.home / "backups"
    make_folder(folder)
    path = folder / f"before-migration-{datetime.now(UTC):%Y%m%d-%H%M%S}-revision-{revision}.dump"
    backup(url, path)
    note(f"Backup of revision {revision}: {path}")
    return path
