"""A whole service in a folder of its own, to be hurt: `helix up` with an embedded database, and a fake embedding service."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.instance.postgres_layout import SYSTEM_ROOT, control_folder
from helix_pipelines.instance.postmaster import find_postmaster
from helix_pipelines.instance.up_state import UpState, last_state
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService

HELIX = str(Path(sys.executable).parent / "helix")
DIMENSIONS = 16
REQUESTS_PER_PERIOD = 4
PERIOD = 2.0
"""Seconds. The limit makes the embedding of some thousand texts last for some ten seconds."""
BEHAVIOUR = {
    "dimensions": DIMENSIONS,
    "latency": 0.02,
    "per_text": 0.002,
    "rpm": REQUESTS_PER_PERIOD,
    "limit_period": PERIOD,
    "p_error": 0.012,
    "p_slow": 0.006,
    "slow_seconds": 2.0,
    "p_hang": 0.002,
}
"""A service with a limit that it tells in its headers, and 2 % faults: errors, late answers, none at all."""
SERVICE = {
    "HELIX_EMBEDDING_MODEL": "fake",
    "HELIX_EMBEDDING_API_KEY": "key",
    "HELIX_EMBEDDING_DIMENSIONS": str(DIMENSIONS),
}
"""What every service here is told of the fake one."""
HURRIED = {
    "HELIX_EMBEDDING_MAX_CONCURRENCY": "4",
    "HELIX_EMBEDDING_RPM": str(round(REQUESTS_PER_PERIOD * 60 / PERIOD)),
    "HELIX_EMBEDDING_LIMIT_PERIOD": str(PERIOD),
    "HELIX_EMBEDDING_BREAKER_TIMEOUT": "2",
    "HELIX_BATCH_TIMEOUT": "10",
    "HELIX_RETRY_BACKOFF_BASE": "1",
    "HELIX_INBOX_STABLE_SECONDS": "0.5",
    "HELIX_INBOX_BATCH_AGE": "1",
    "HELIX_INBOX_BATCH_FILES": "2",  # so that two batches run side by side
}
"""Settings under which a service that is hurt again and again does not wait for long."""


class LiveService:
    """`helix up` in a folder. Queries go over one connection, which is made anew when it was lost."""

    def __init__(self, home: Path, fake: FakeEmbeddingService, settings: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELIX_")}
        own = {"HELIX_HOME": str(home), "HELIX_EMBEDDING_URL": fake.url, "HELIX_UI_PORT": str(_free_port())}
        self.environment = {**inherited, **SERVICE, **own, **settings}
        self.fake = fake
        self.settings: Settings = load_settings(self.environment, env_file=None)
        self.postgres = EmbeddedPostgres(home)
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def home(self) -> Path:
        return self.settings.home

    def begin_up(self) -> subprocess.Popen[bytes]:
        """`helix up` in the background, as a service manager would call it; the process ends once everything answers."""
        command = [HELIX, "up", "--detach"]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def up(self) -> None:
        """Start everything and wait until it answers."""
        assert self.begin_up().wait(300) == 0, self.log("up")

    def down(self) -> None:
        """End everything and wait for it."""
        self.close()
        subprocess.run([HELIX, "down"], env=self.environment, check=True, capture_output=True)

    def state(self) -> UpState:
        """What the supervisor published last."""
        state = last_state(self.home)
        assert state is not None, self.log("up")
        return state

    def postmaster(self) -> psutil.Process:
        """The database's first process."""
        found = find_postmaster(self.postgres.data_dir)
        assert found is not None, "the database does not run"
        return psutil.Process(found.pid)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a statement, committed at once. Raises psycopg.OperationalError while the database is away."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
            cursor = self._connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where the database is. Raises psycopg.OperationalError while it is away."""
        url = self.postgres.probe()
        if url is None:
            raise psycopg.OperationalError("the database does not answer")
        return url

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def log(self, name: str, lines: int = 40) -> str:
        """The end of a log of the home."""
        path = self.home / "logs" / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else f"no {path}"


@contextmanager
def live_service(
    home: Path,
    fake: FakeEmbeddingService,
    settings: Mapping[str, str] = HURRIED,
    *,
    database_folder: Path | None = None,
) -> Iterator[LiveService]:
    """A service that is up for the length of the block; nothing of it is left after it. `settings` are all that it has.

    As root the database is in `database_folder` where one is given, instead of the system's own place.
    """
    if database_folder is not None and os.geteuid() == 0:
        place_database(home, database_folder)
    service = LiveService(home, fake, settings)
    try:
        service.up()
        yield service
    finally:
        service.down()
        with contextlib.suppress(FileNotFoundError):
            folder = service.postgres.folder
            if folder.is_relative_to(SYSTEM_ROOT) or folder == database_folder:
                shutil.rmtree(folder)


def place_database(home: Path, folder: Path) -> None:
    """Have the database of a new home in `folder`: root makes it, and its parent, so that others may pass through."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, folder.parent):
        path.chmod(0o755)
    control = control_folder(home)
    control.mkdir(parents=True, exist_ok=True)
    control.joinpath("location").write_text(f"{folder}\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
