"""What tests of several rooms share: one real PostgreSQL for the whole run, and databases in it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from helix_pipelines.instance.postgres_layout import SYSTEM_ROOT
from helix_pipelines_tests.databases import Databases, shared_postgres
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import DIMENSIONS, Stages

# Properties are not timed: on a busy machine any example may take longer than Hypothesis's 200 ms.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LONGEST_FIRST = (
    "integration/",
    "instance/test_supervisor.py",
    "cli/test_import_process.py",
    "instance/",
    "defs/",
    "storage/",
)
"""Where single tests take seconds: begun last, they would keep one process busy while the other has nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of tests so that processes which share them end at about the same time."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((place for place, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST))

    items.sort(key=turn)


def pytest_sessionstart() -> None:
    """Remove the databases of temporary homes that are gone: as root, a database is not in its home."""
    for note in SYSTEM_ROOT.glob("*/home"):
        home = Path(note.read_text().strip())
        is_new = time.time() - note.stat().st_mtime < 60  # somebody may be making that home right now
        if home.is_relative_to(tempfile.gettempdir()) and not home.exists() and not is_new:
            shutil.rmtree(note.parent, ignore_errors=True)


def pytest_configure() -> None:
    """React to signals: whoever starts the tests in the background hands down that some are ignored or held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that lives as long as the test run and is the same for all processes that share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder in that of the run
    with shared_postgres(folder).joined() as url:
        yield url


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Databases:
    """The databases of the server."""
    return Databases(postgres_url)


@pytest.fixture
def make_database(databases: Databases) -> Iterator[Callable[[], str]]:
    """Makes databases that are empty but for the extension `vector`, for one test; gives their URLs."""
    with ExitStack() as dropped:

        def make() -> str:
            url = databases.empty()
            dropped.callback(databases.drop, url)
            return url

        yield make


@pytest.fixture
def migrated_url(databases: Databases) -> Iterator[str]:
    """The URL of a database with the schema and nothing else, for one test."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def database_url(databases: Databases) -> Iterator[str]:
    """The URL of a database with the schema that the tests of one module share."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def shared_service() -> Iterator[FakeEmbeddingService]:
    """A fake embedding service that lives as long as the test run."""
    with running_fake(dimensions=DIMENSIONS) as fake:
        yield fake


@pytest.fixture
def service(shared_service: FakeEmbeddingService) -> FakeEmbeddingService:
    """The fake embedding service with its counters at zero and without faults."""
    shared_service.reset()
    return shared_service


@pytest.fixture
def stages(database_url: str, tmp_path: Path, service: FakeEmbeddingService) -> Iterator[Stages]:
    """The stages on the module's database, with a collection of their own."""
    stages = Stages(database_url, tmp_path, service.url)
    yield stages
    stages.database.close()
