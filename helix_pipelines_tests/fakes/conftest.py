from __future__ import annotations

from collections.abc import Iterator

import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake


@pytest.fixture(scope="session")
def shared_fake() -> Iterator[FakeEmbeddingService]:
    with running_fake() as service:
        yield service


@pytest.fixture
def fake(shared_fake: FakeEmbeddingService) -> FakeEmbeddingService:
    """A fake embedding service as at its start."""
    shared_fake.reset()
    return shared_fake
