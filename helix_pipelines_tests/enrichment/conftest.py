"""A database and a fake service for a module, a deployment with a collection of its own for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import DIMENSIONS, Stages


@pytest.fixture(scope="module")
def service() -> Iterator[FakeEmbeddingService]:
    with running_fake(dimensions=DIMENSIONS) as fake:
        yield fake


@pytest.fixture
def stages(database_url: str, tmp_path: Path, service: FakeEmbeddingService) -> Iterator[Stages]:
    service.reset()
    stages = Stages(database_url, tmp_path, service.url)
    yield stages
    stages.database.close()
