"""Checks of the database: its versions and schema, its clock, whether it has enough connections, and the gates in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from helix_pipelines.instance import services
from helix_pipelines.instance.checkup import Answer, Check, fault, ok, warning
from helix_pipelines.settings import Settings
from helix_pipelines.storage.gates import list_gates
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.schema import current_revision

CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 8
"""Seconds; a statement of a check takes milliseconds, unless somebody holds a lock."""
CLOCK_WANTED = 2.0
CLOCK_NEEDED = 60.0
"""Seconds of difference. Leases and waits go by the database's clock alone; runs, logs and schedules by this machine's."""
SENSOR_THREADS = 4
"""`sensors.num_workers` in dagster.yaml: each tick has a pool of its own."""
DAGSTER_PROCESSES = 4
"""Webserver and daemon, each with a code server."""
DAGSTER_CONNECTIONS = 5
"""That a Dagster process has at a time: one kept for each of its three storages, and a listener or two."""


class DatabaseSession:
    """The deployment's database for the length of a checkup; the embedded one is started where it does not run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = ExitStack()
        self.url: str | None = None

    def open(self) -> Answer:
        """Reach it. Raises SetupError with what keeps it from being used."""
        began = time.monotonic()
        url = self._opened.enter_context(services.database(self._settings, may_change=False))
        with connected(url) as connection:
            connection.execute("SELECT 1")
        self.url = url
        return ok(f"It answers after {time.monotonic() - began:.2f} s.")

    def close(self) -> None:
        """Leave it; the embedded one is stopped where nobody else uses it."""
        if self.url is not None:  # else the opening still hangs, and nothing can be closed under it
            self._opened.close()


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection on which nothing takes long."""
    options = f"-c statement_timeout={STATEMENT_TIMEOUT}s"
    with psycopg.connect(
        url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, options=options, application_name="helix doctor"
    ) as connection:
        yield connection


def database_checks(settings: Settings, url: str) -> list[Check]:
    """The checks of a database that answers."""
    return [
        Check("versions", lambda: check_versions(url)),
        Check("schema", lambda: check_schema(url)),
        Check("clock", lambda: check_clock(url)),
        Check("connections", lambda: check_connections(url, settings)),
        Check("gates", lambda: check_gates(url)),
    ]


def check_versions(url: str) -> Answer:
    """PostgreSQL and pgvector; that they are new enough was looked at when the database was opened."""
    with connected(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        ).fetchone()
    assert row is not None
    version, vector = row
    if vector is None:
        return warning(f"PostgreSQL {version}; pgvector is not set up yet.", "`helix up` or `helix import` does that.")
    return ok(f"PostgreSQL {version}, pgvector {vector}.")


def check_schema(url: str) -> Answer:
    """Whether the schema is that of this version of Helix."""
    with connected(url) as connection:
        revision = current_revision(connection)
    if revision is None:
        return warning("There is no schema yet.", "`helix up` or `helix import` makes it.")
    if revision < HEAD:
        return fault(f"It is at revision {revision}, this version needs {HEAD}.", "Run `helix db upgrade`.")
    if revision > HEAD:
        return fault(f"It is at revision {revision}, newer than this version's {HEAD}.", "Update Helix.")
    return ok(f"Revision {revision}.")


def check_clock(url: str) -> Answer:
    """The difference between the clock here and that of the database, give or take half the way there and back."""
    with connected(url) as connection:
        connection.execute("SELECT 1")
        before = time.time()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        after = time.time()
    assert row is not None
    difference = row[0] - (before + after) / 2
    detail = f"The database's clock is {abs(difference):.2f} s {'ahead of' if difference > 0 else 'behind'} this one's."
    advice = "Let both machines follow a time server (NTP)."
    if abs(difference) > CLOCK_NEEDED:
        return fault(detail, advice)
    return warning(detail, advice) if abs(difference) > CLOCK_WANTED else ok(detail)


def check_connections(url: str, settings: Settings) -> Answer:
    """Whether the server allows as many connections as this deployment may come to have, beside those of others."""
    with connected(url) as connection:
        row = connection.execute(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int,"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        ).fetchone()
    assert row is not None
    allowed, used = row
    pools = settings.max_running_batches + SENSOR_THREADS
    pool = settings.database_pool_size + settings.database_max_overflow
    processes = settings.max_running_batches + DAGSTER_PROCESSES
    gates = settings.max_running_batches
    needed = pools * pool + gates + processes * DAGSTER_CONNECTIONS
    detail = (
        f"{needed} at most: {pools} pools of {pool} ({settings.max_running_batches} runs, {SENSOR_THREADS} sensors),"
        f" {gates} to gates, {processes} Dagster processes with {DAGSTER_CONNECTIONS}."
        f" The server allows {allowed}, {used} are in use."
    )
    advice = (
        "Raise max_connections of the server, or lower HELIX_MAX_RUNNING_BATCHES, HELIX_DATABASE_POOL_SIZE or"
        " HELIX_DATABASE_MAX_OVERFLOW."
    )
    return ok(detail) if needed <= allowed else fault(detail, advice)


def check_gates(url: str) -> Answer:
    """Whether each service may be asked."""
    with connected(url) as connection:
        if current_revision(connection) != HEAD:
            return warning("Not looked at: the schema is not that of this version.", "See the check of the schema.")
        gates = list_gates(connection)
    shut = [f"{gate['service']}: {gate['message']}" for gate in gates if gate["state"] == "shut"]
    if shut:
        return fault("; ".join(shut), "Correct what the message says, then `helix breaker reset`.")
    away = [f"{gate['service']}: {gate['message']}" for gate in gates if gate["state"] != "closed"]
    if away:
        return warning(
            "; ".join(away), "It is probed by itself and used again once it answers; see `helix breaker status`."
        )
    return ok(f"{len(gates)} known, all of them closed: requests pass." if gates else "No service was asked yet.")
