"""What tests of several rooms share: one real PostgreSQL for the whole run, and empty databases in it."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.stages import DIMENSIONS, Stages

NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""A test's database need not survive a power cut, but a kill: so commits stay synchronous."""


def pytest_configure() -> None:
    """React to signals: whoever starts the tests in the background hands down that some are ignored or held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that lives as long as the test run."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), NOT_DURABLE)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def make_database(postgres_url: str) -> Callable[[], str]:
    """Makes a fresh database that is empty but for the extension `vector`; gives its URL. It goes with the server."""

    def make() -> str:
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        url = f"{postgres_url.rpartition('/')[0]}/{name}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        return url

    return make


@pytest.fixture(scope="module")
def database_url(make_database: Callable[[], str], postgres_url: str) -> Iterator[str]:
    """The URL of an empty database that the tests of one module share."""
    url = make_database()
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)".encode())


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
