"""One service for all that is done to it from outside: `helix up`, a fake embedding service, and a browser at Dagster's UI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helix_pipelines_tests.fakes.embedding_service import running_fake
from helix_pipelines_tests.recovery.live_service import DIMENSIONS, LiveService, live_service
from helix_pipelines_tests.system.dagster_pages import DagsterPages, opened_browser
from helix_pipelines_tests.system.hurdles import hurdles
from helix_pipelines_tests.system.stopped_batches import Batches

SETTINGS = {
    "HELIX_BATCH_TIMEOUT": "10",
    "HELIX_EMBEDDING_BREAKER_TIMEOUT": "2",
    "HELIX_EMBEDDING_MAX_CONCURRENCY": "1",  # so that requests come one after another, and a batch can be stopped between them
    "HELIX_MAX_RUNNING_BATCHES": "6",
    "HELIX_OUTAGE_PATIENCE": "3",
}


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The service; whoever changes the ways of its fake embedding service changes them back."""
    with (
        running_fake(dimensions=DIMENSIONS) as fake,
        live_service(tmp_path_factory.mktemp("home"), fake, SETTINGS) as service,
    ):
        yield service


@pytest.fixture(scope="session")
def pages(live: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterPages]:
    """Dagster's UI in a browser."""
    with opened_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield DagsterPages(browser, live.state().ui)


@pytest.fixture
def batches(live: LiveService, tmp_path: Path) -> Iterator[Batches]:
    """Batches that stop where a test wants them to; the fake embedding service begins to count."""
    live.fake.reset()
    with hurdles(live) as placed:
        yield Batches(live, tmp_path, placed)
    live.fake.reset()
