"""What tests of the database share: a whole deployment, or the module's database with one batch in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.engine import Database
from helix_pipelines_tests.deployment import deployment

__all__ = ["deployment"]


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """A pool on the module's database."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def key(database: Database, tmp_path: Path) -> str:
    """The partition key of the only batch there is, queued."""
    with database.transaction() as connection:
        connection.execute("TRUNCATE helix.import_batch CASCADE")
        return create_batch(connection, "faq", [FileRequest(str(tmp_path / "a.csv"), "c", "a.csv")], BatchSettings())
