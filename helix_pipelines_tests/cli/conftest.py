"""A home and a database of its own for every module that runs commands, and a way to run one as `helix` does."""

from __future__ import annotations

import json
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
            " helix.import_row, helix.qa_pair, helix.passage, helix.occurrence, helix.embedding, helix.event,"
            " helix.embedding_generation RESTART IDENTITY CASCADE"
        )
        connection.execute("DROP TABLE IF EXISTS helix.embedding_g1")
