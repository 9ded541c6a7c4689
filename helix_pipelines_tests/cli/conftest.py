"""A home and a database of its own for every module that runs commands, and a way to run one as `helix` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helix_pipelines.cli import main
from helix_pipelines.storage.schema import ensure_schema


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


RunHelix = Callable[..., Ended]

SLOW = (
    *("alembic", "dagster", "dotenv", "httpcore", "httpx", "numpy", "psutil", "pydantic", "rich"),
    *("sqlalchemy", "structlog", "tenacity", "trio"),
)
"""Modules that a command that only reads must not load: each costs it 5 to 200 ms, and it has 500."""


def slow_modules_of(*arguments: str) -> set[str]:
    """Which of the slow modules a command loads, in a process of its own that ends well."""
    script = (
        "import sys\n"
        "from helix_pipelines.cli import main\n"
        "code = main()\n"
        f"print(*(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    return set(stderr_of(script, *arguments).split())


def stderr_of(script: str, *arguments: str) -> str:
    """What a script says on stderr, in a process of its own that ends well."""
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def helix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> RunHelix:
    """Runs a command line in this process, in a home of its own; no database is named."""
    monkeypatch.setenv("HELIX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELIX_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = main(arguments)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def helix_on_database(helix: RunHelix, database_url: str, monkeypatch: pytest.MonkeyPatch) -> RunHelix:
    """The same, on the module's database."""
    monkeypatch.setenv("HELIX_DATABASE_URL", database_url)
    return helix


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the module's database, with the schema in it and nothing else."""
    ensure_schema(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection
        connection.execute(
            "TRUNCATE helix.import_batch, helix.import_job, helix.source, helix.collection, helix.api_usage, helix.phase_run,"
            " helix.import_row, helix.row_content, helix.qa_pair, helix.passage, helix.occurrence, helix.embedding, helix.event,"
            " helix.embedding_generation RESTART IDENTITY CASCADE"
        )
        connection.execute("DROP TABLE IF EXISTS helix.embedding_g1")
