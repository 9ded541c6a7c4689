"""Services are shared: the first user starts them, the last one stops them, and a crash leaves them to the next."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.instance.external_database import _provide_pgvector, check_database, neutral_url
from helix_pipelines.instance.local_embedder import LocalEmbedder
from helix_pipelines.instance.services import (
    LOCAL_MAX_TEXTS,
    EmbeddingEndpoint,
    database,
    embedder,
    shared_database,
    shared_embedder,
)
from helix_pipelines.instance.shared_service import SharedService
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Secret, Settings

USE = """
import sys
from pathlib import Path
from helix_pipelines.instance import services
from helix_pipelines.settings import Settings
with getattr(services, sys.argv[1])(Settings(home=Path(sys.argv[2]))):
    print("joined", flush=True)
    sys.stdin.read()
"""


class CountedService:
    """A service that notices being stopped under a user, and two at once changing it."""

    def __init__(self, users_lock: Path) -> None:
        self.lock = users_lock
        self.running = False
        self.starts = 0
        self.stops = 0
        self._turn = threading.Lock()

    def start(self) -> str:
        with self._turn:
            self.starts += not self.running
            self.running = True
        return "address"

    def stop(self) -> None:
        with self._turn:
            self.stops += 1
            self.running = False

    def user(self) -> SharedService[str]:
        return SharedService(self, self.lock)


@pytest.fixture
def service(tmp_path: Path) -> CountedService:
    return CountedService(tmp_path / "service" / "users.lock")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    assert shared_database(home).stop_if_unused()
    assert shared_embedder(home).stop_if_unused()
    shutil.rmtree(EmbeddedPostgres(home).folder, ignore_errors=True)


def user_process(service: str, home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", USE, service, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def test_the_last_one_out_stops_the_service(service: CountedService) -> None:
    first, second = service.user(), service.user()
    assert first.join() == second.join() == "address"
    assert not first.leave()
    assert service.stops == 0
    assert second.leave()
    assert (service.starts, service.stops) == (1, 1)
    assert not second.leave(), "leaving twice is nothing"


def test_users_that_come_and_go_at_once_never_lose_the_service(service: CountedService) -> None:
    lost: list[bool] = []

    def come_and_go() -> None:
        for _ in range(40):
            with service.user().joined():
                lost.append(not service.running)

    users = [threading.Thread(target=come_and_go) for _ in range(6)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(lost) == 240
    assert not any(lost)
    assert not service.running
    assert service.starts == service.stops


def test_a_user_cannot_join_twice(service: CountedService) -> None:
    user = service.user()
    with user.joined(), pytest.raises(RuntimeError, match="joined already"):
        user.join()


def test_a_failed_start_leaves_no_user_behind(service: CountedService, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise SetupError("POSTGRES_DISK_FULL", "no space")

    with monkeypatch.context() as patched:
        patched.setattr(service, "start", fail)
        with pytest.raises(SetupError, match="POSTGRES_DISK_FULL"):
            service.user().join()
    assert service.user().stop_if_unused()


def test_the_database_runs_while_any_process_uses_it(home: Path) -> None:
    settings = Settings(home=home)
    server = EmbeddedPostgres(home)
    other = user_process("database", home)
    with database(settings) as url:
        assert server.probe() == url
        other.communicate("")
        assert server.probe() == url, "we still use it"
    assert server.probe() is None


def test_a_database_whose_only_user_was_killed_is_adopted(home: Path) -> None:
    server = EmbeddedPostgres(home)
    killed = user_process("database", home)
    killed.kill()
    killed.communicate()
    left = server.probe()
    assert left is not None
    with database(Settings(home=home)) as url:
        assert url == left
    assert server.probe() is None


def test_the_local_embedder_is_shared_adopted_and_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helix_pipelines.instance.local_embedder.ADOPT_TIMEOUT", 0.1)
    settings = Settings(home=home)
    server = LocalEmbedder(home)
    killed = user_process("embedder", home)
    killed.kill()
    killed.communicate()
    left = server.probe()
    assert left is not None
    with embedder(settings) as endpoint, embedder(settings) as again:
        assert endpoint == again == EmbeddingEndpoint(left, None, "multilingual-e5-small", 384, 2, LOCAL_MAX_TEXTS)
        (home / "embedder" / "port").write_text("1\n")
        with embedder(settings) as replaced:
            assert replaced.url == server.probe() != left, "one that cannot be found again is replaced"
    assert server.probe() is None


def test_a_killed_embedder_is_started_again(home: Path) -> None:
    server = LocalEmbedder(home)
    with embedder(Settings(home=home)):
        os.kill(int((home / "embedder" / "pid").read_text()), signal.SIGKILL)
        assert server.probe() is None
        with embedder(Settings(home=home)) as endpoint:
            assert server.probe() == endpoint.url


def test_an_embedder_that_fails_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helix_pipelines.instance.local_embedder.SERVER", "helix_pipelines.missing")
    with pytest.raises(SetupError, match=r"(?s)EMBEDDER_START_FAILED.*No module named helix_pipelines.missing"):
        LocalEmbedder(tmp_path).start()


def test_a_service_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    key = Secret("k")
    settings = Settings(
        home=tmp_path,
        embedding_url="http://host/v1",
        embedding_api_key=key,
        embedding_model="m",
        embedding_dimensions=8,
    )
    with embedder(settings) as endpoint:
        assert endpoint == EmbeddingEndpoint("http://host/v1", key, "m", 8, 5)
    assert not list(tmp_path.iterdir())


def test_another_model_without_a_service_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match="EMBEDDING_URL_MISSING"),
        embedder(Settings(home=tmp_path, embedding_model="text-embedding-3-small")),
    ):
        pass


def test_a_database_that_is_named_is_checked_and_gets_pgvector(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE named TEMPLATE template0")
    named = postgres_url.rpartition("/")[0] + "/named"
    given = Secret(named.replace("postgresql://", "postgresql+psycopg2://"))
    with database(Settings(home=tmp_path, database_url=given)) as url, psycopg.connect(url) as connection:
        assert url == named
        assert connection.execute("SELECT '[1]'::vector(1)::text").fetchone() == ("[1]",)
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_only_to_be_read_gets_nothing(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE untouched TEMPLATE template0")
    given = Secret(postgres_url.rpartition("/")[0] + "/untouched")
    settings = Settings(home=tmp_path, database_url=given)
    with database(settings, may_change=False) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'").fetchone() == (0,)


def test_a_database_that_is_not_utf8_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    with pytest.raises(SetupError, match="DATABASE_NOT_UTF8"):
        check_database(postgres_url.rpartition("/")[0] + "/latin")


def test_a_user_who_may_not_set_up_pgvector_is_told_who_can(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare TEMPLATE template0")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    place = postgres_url.partition("@")[2].rpartition("/")[0]
    with pytest.raises(SetupError, match=r"PGVECTOR_REFUSED.*CREATE EXTENSION"):
        check_database(f"postgresql://guest:guest@{place}/bare")


@pytest.mark.parametrize(
    ("installed", "available", "code"),
    [(None, None, "PGVECTOR_MISSING"), (None, "0.7.4", "PGVECTOR_TOO_OLD"), ("0.5.0", "0.7.4", "PGVECTOR_TOO_OLD")],
)
def test_a_server_without_a_recent_pgvector_is_refused(
    postgres_url: str, installed: str | None, available: str | None, code: str
) -> None:
    with psycopg.connect(postgres_url) as connection, pytest.raises(SetupError, match=code):
        _provide_pgvector(connection, installed, available)


def test_an_unreachable_database_is_said_without_its_password() -> None:
    with pytest.raises(SetupError, match="DATABASE_UNREACHABLE") as raised:
        check_database("postgresql://helix:hidden@127.0.0.1:1/helix")
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://root:hidden@host/db", "hidden"])
def test_what_is_no_postgresql_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL_INVALID") as raised:
        neutral_url(url)
    assert "hidden" not in str(raised.value)


def test_a_url_that_libpq_cannot_read_is_refused_without_repeating_it() -> None:
    with pytest.raises(SetupError, match="DATABASE_URL_INVALID") as raised:
        check_database("postgresql://helix:hid%zzden@host/db")
    assert "hid" not in str(raised.value)


def test_services_import_neither_database_nor_http_libraries() -> None:
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import sys, helix_pipelines.instance.services as s; print(*sys.modules)"],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).split()
    assert {"sqlalchemy", "psycopg", "httpx", "psutil", "dagster", "http.client"}.isdisjoint(loaded)
