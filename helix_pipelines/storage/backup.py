"""Backups of the whole database (schema `helix` and Dagster's tables) by PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from helix_pipelines.resilience.errors import SetupError

BEGINNING = b"""BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
DROP SCHEMA IF EXISTS helix CASCADE;
"""
STORY = 1500
"""Characters of a program's complaint that go into an error."""


def backup(url: str, path: Path) -> Path:
    """Write a consistent snapshot of the database to `path`, in pg_dump's custom format, and return `path`.

    Others go on reading and writing meanwhile. The file appears when it is complete, readable by its owner only.
    Raises SetupError: BACKUP_FAILED, POSTGRES_PROGRAMS_MISSING.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    draft.touch(mode=0o600)
    connection, environment = _connection(url)
    try:
        _run([_program("pg_dump"), "--format=custom", "--no-owner", "--file", str(draft), "--dbname", connection],
             environment, "BACKUP_FAILED")  # fmt: skip
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def restore(url: str, path: Path) -> None:
    """Replace what the database holds by the backup at `path`, all or nothing, in one transaction.

    Schema `helix` is dropped with everything in it, so that nothing of a later revision stays; of Dagster's tables those in
    the backup are replaced. The database may be empty, but has to have the extension `vector` or a user who may create it.
    Nobody else should be connected: the transaction waits for their locks. Raises SetupError: RESTORE_FAILED,
    POSTGRES_PROGRAMS_MISSING.
    """
    connection, environment = _connection(url)
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as contents:
        # The extension is the server's: dropping it would take along columns of anybody who uses it.
        listed = _run([_program("pg_restore"), "--list", str(path)], environment, "RESTORE_FAILED")
        contents.writelines(line for line in listed.splitlines(keepends=True) if " EXTENSION " not in line)
        contents.flush()
        script = [_program("pg_restore"), "--clean", "--if-exists", "--no-owner", "--use-list", contents.name]
        client = [_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", connection]
        _pipe([*script, "--file=-", str(path)], [*client, "--output=/dev/null"], environment)


def _pipe(script: Sequence[str], client: Sequence[str], environment: dict[str, str]) -> None:
    """Feed the script to the client between BEGIN and COMMIT; without the script's good end there is no COMMIT."""
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(client, stdin=subprocess.PIPE, stderr=complaints, env=environment) as psql,
        subprocess.Popen(script, stdout=subprocess.PIPE, stderr=complaints, env=environment) as reader,
    ):
        if psql.stdin is None or reader.stdout is None:
            raise RuntimeError("a pipe that was asked for is missing")
        try:
            psql.stdin.write(BEGINNING)
            shutil.copyfileobj(reader.stdout, psql.stdin)
            if reader.wait() == 0:
                psql.stdin.write(b"\nCOMMIT;\n")
            psql.stdin.close()
        except BrokenPipeError:
            reader.kill()  # psql has stopped at an error, and tells which
        if psql.wait() != 0 or reader.wait() != 0:
            raise SetupError(
                "RESTORE_FAILED", f"Nothing was changed, as the backup could not be read in: {_story(complaints)}"
            )


def _story(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read().decode("utf-8", "replace").strip()[:STORY]


def _run(command: Sequence[str], environment: dict[str, str], code: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(code, f"{Path(command[0]).name} failed: {done.stderr.strip()[:STORY]}")
    return done.stdout


def _connection(url: str) -> tuple[str, dict[str, str]]:
    """The connection string without its password, and an environment that has it: other users see command lines."""
    parameters = conninfo_to_dict(url)
    password = parameters.pop("password", None)
    environment = {**os.environ, "LC_ALL": "C"}
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    return make_conninfo("", **parameters), environment


def _program(name: str) -> str:
    """The path of a PostgreSQL program: that of the embedded server, as new as any server; else the one on PATH."""
    from helix_pipelines.instance.postgres_binaries import wheel_bin_dir

    try:
        return str(wheel_bin_dir() / name)
    except SetupError:
        found = shutil.which(name)
    if found is None:
        raise SetupError(
            "POSTGRES_PROGRAMS_MISSING",
            f"{name} is not installed. Install PostgreSQL's client programs (Debian: apt install postgresql-client).",
        )
    return found
