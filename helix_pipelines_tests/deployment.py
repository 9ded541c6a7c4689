"""A whole deployment in a folder, as Dagster's processes see it: settings in the environment, a real database, a fake service."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from helix_pipelines.instance.dagster_home import dagster_environment, prepare_dagster_home
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import DIMENSIONS, MODEL


@dataclass(frozen=True)
class Deployment:
    """What a test does to a deployment from outside."""

    settings: Settings
    url: str
    service: FakeEmbeddingService

    @property
    def inbox(self) -> Path:
        return self.settings.inbox_dir

    def write(self, path: Path, rows: int, word: str = "row") -> Path:
        """A CSV file of `rows` different questions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "answer"])
            writer.writerows([f"What is {word} {index}?", f"It is {index}."] for index in range(rows))
        return path

    def begin(self, *paths: Path, state: BatchState = BatchState.LAUNCHED, **settings: Any) -> str:
        """Record a batch of these files, with these fields of `BatchSettings`; returns its partition key."""
        files = [FileRequest(str(path), "default", path.name) for path in paths]
        with psycopg.connect(self.url) as connection:
            return create_batch(connection, paths[0].stem, files, BatchSettings(**settings), state=state)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a statement, as dictionaries; what it changes is committed."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def batch(self, key: str) -> Mapping[str, Any]:
        """The record of a batch."""
        return self.query("SELECT * FROM helix.import_batch WHERE partition_key = %s", [key])[0]


@pytest.fixture
def deployment(
    migrated_url: str, service: FakeEmbeddingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    """A deployment of its own for each test, named by the environment of this process."""
    monkeypatch.setenv("HELIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HELIX_DATABASE_URL", migrated_url)
    monkeypatch.setenv("HELIX_EMBEDDING_URL", service.url)
    monkeypatch.setenv("HELIX_EMBEDDING_MODEL", MODEL)
    monkeypatch.setenv("HELIX_EMBEDDING_DIMENSIONS", str(DIMENSIONS))
    settings = load_settings(env_file=None)
    settings.inbox_dir.mkdir(parents=True)
    prepare_dagster_home(settings, migrated_url)
    for variable, value in dagster_environment(settings, migrated_url).items():
        monkeypatch.setenv(variable, value)
    return Deployment(settings, migrated_url, service)
