"""PostgreSQL with pgvector, started by whoever needs it first: no installation, no system service, nothing outside the
home.

Several processes may call everything here at once. A start lock serialises starts and stops; who finds the server
running pays one connection and takes no lock.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from helix_pipelines.instance.home_files import exclusive_lock, make_folder, read_file, write_file
from helix_pipelines.instance.postgres_binaries import Binaries, binaries_for, wheel_bin_dir
from helix_pipelines.instance.postgres_cluster import (
    USER,
    check_version,
    create_cluster,
    disk_full,
    reset_password,
    write_configuration,
)
from helix_pipelines.instance.postgres_layout import (
    Account,
    Layout,
    account_of,
    control_folder,
    establish_layout,
    find_layout,
)
from helix_pipelines.resilience.errors import SetupError

if TYPE_CHECKING:
    import psycopg

DATABASE = "helix"

START_LOCK_TIMEOUT = 660.0
"""Seconds; longer than a start, which may have to recover from a crash."""

LAUNCH_ATTEMPTS = 5
"""A port that was free a moment ago may be taken when the server binds it; not five times in a row."""


class State(msgspec.Struct, frozen=True):
    """What the last start leaves for those who come later."""

    port: int


class PasswordRefusedError(Exception):
    """The server does not take the password that is in the home."""


class EmbeddedPostgres:
    """The PostgreSQL server of a home. `extra_settings` go before the ones of `postgres_cluster.SETTINGS`, at the next
    start.

    URLs read `postgresql://helix:<password>@127.0.0.1:<port>/helix`; the port stays the same between starts while it is
    free.
    """

    def __init__(self, home: Path, extra_settings: Mapping[str, str] | None = None) -> None:
        self._home = home.expanduser().resolve()
        self._control = control_folder(self._home)
        self._extra_settings = dict(extra_settings or {})

    @property
    def bin_dir(self) -> Path:
        """The folder of pg_dump, pg_restore and psql, for the caller's own account."""
        return wheel_bin_dir()

    @property
    def data_dir(self) -> Path:
        """The data folder, which may be outside the home and exists after the first start."""
        return (find_layout(self._home) or Layout(self._control, self._control)).data_dir

    @property
    def folder(self) -> Path:
        """The parent of the data folder and the logs."""
        return self.data_dir.parent

    def probe(self) -> str | None:
        """The URL, if a connection as our user reaches the server of this very data folder right now. Takes no lock."""
        try:
            layout = find_layout(self._home)
            if layout is None or not (layout.data_dir / "postmaster.pid").exists():
                return None
        except PermissionError:
            return None
        password, state = read_file(layout.password_file), _read_state(layout)
        if not password or state is None:
            return None
        return self._url(state.port, password) if _answers(layout, state.port, password) else None

    def start(self) -> str:
        """Start the server unless it runs; gives its URL.

        The database `helix` then exists and has the extension `vector`. What an earlier start or a crash left (a
        running server, backends without one, a stale pid file, a half-made data folder, a lost password) is adopted or
        cleared away.

        Raises SetupError: POSTGRES_START_FAILED, POSTGRES_PORT_BUSY, POSTGRES_DISK_FULL, POSTGRES_VERSION_MISMATCH,
        POSTGRES_IN_USE, POSTGRES_OTHER_ACCOUNT, POSTGRES_NO_ACCOUNT, HOME_NOT_WRITABLE and others that the called
        functions name.
        """
        running = self.probe()
        if running is not None:
            return running
        try:
            make_folder(self._control)
            with exclusive_lock(self._control / "start.lock", timeout=START_LOCK_TIMEOUT) as held:
                return self.probe() or self._start(held)
        except OSError as error:
            raise self._explain(error) from error

    def stop(self) -> None:
        """Stop the server if it runs, cleanly if it can be, and wait until the last of its processes has ended.

        Raises SetupError: POSTGRES_STOP_FAILED, POSTGRES_IN_USE.
        """
        from helix_pipelines.instance.postmaster import shut_down

        if not self._control.is_dir():
            return
        with exclusive_lock(self._control / "start.lock", timeout=START_LOCK_TIMEOUT):
            layout = find_layout(self._home)
            if layout is not None and layout.data_dir.exists():
                shut_down(layout)

    def _start(self, held: int) -> str:
        from helix_pipelines.instance.postmaster import shut_down

        layout = establish_layout(self._home)
        account = account_of(layout)
        binaries = binaries_for(account)
        password = read_file(layout.password_file) or ""
        if not password:
            password = secrets.token_urlsafe(24)
            write_file(layout.password_file, password)
        if layout.data_dir.exists():
            check_version(binaries, layout)
        else:
            durable = self._extra_settings.get("fsync") != "off"
            create_cluster(binaries, account, layout, password, inherit=(held,), durable=durable)
        port = self._run(layout, account, binaries)
        try:
            _prepare_database(port, password)
        except PasswordRefusedError:
            shut_down(layout)
            reset_password(binaries, account, layout, password)
            port = self._run(layout, account, binaries)
            _prepare_database(port, password)
        return self._url(port, password)

    def _run(self, layout: Layout, account: Account, binaries: Binaries) -> int:
        """Adopt the running server or launch one; gives its port, which the state file has from then on."""
        from helix_pipelines.instance import postmaster

        state = _read_state(layout)
        running = postmaster.find_postmaster(layout.data_dir)
        if running is not None and running.data_dir == str(layout.data_dir):
            port = postmaster.wait_until_ready(layout, running.pid)
        else:
            postmaster.shut_down(layout)  # of a home that was moved under its server, or leftovers of a crash
            write_configuration(layout, account, self._extra_settings)
            port = _launch(layout, account, binaries, preferred=state.port if state else None)
        if state is None or state.port != port:
            write_file(layout.state_file, msgspec.json.encode(State(port)).decode())
        return port

    def _url(self, port: int, password: str) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"

    def _explain(self, error: OSError) -> SetupError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return disk_full(self.folder if self.folder.exists() else self._control)
        return SetupError(
            "POSTGRES_START_FAILED",
            f"The database of {self._home} could not be started: {error}. Correct that, or name a database by "
            "HELIX_DATABASE_URL.",
        )


def _launch(layout: Layout, account: Account, binaries: Binaries, *, preferred: int | None) -> int:
    from helix_pipelines.instance import postmaster

    attempts = 0
    for port in postmaster.free_ports(preferred):
        pid = postmaster.launch(binaries, account, layout, port)
        try:
            return postmaster.wait_until_ready(layout, pid)
        except postmaster.PortTakenError:
            attempts += 1
            if attempts == LAUNCH_ATTEMPTS:
                break
    raise SetupError(
        "POSTGRES_PORT_BUSY",
        f"No port of 127.0.0.1 between {postmaster.PORTS.start} and {postmaster.PORTS.stop - 1} could be opened for "
        "the database. See "
        "`ss -ltnp` for what takes them, or name a database by HELIX_DATABASE_URL.",
    )


def _connect(port: int, database: str, password: str) -> psycopg.Connection:
    import psycopg

    # Everything that PG* variables of the caller could change is said here.
    return psycopg.connect(
        host="127.0.0.1",
        hostaddr="127.0.0.1",
        port=port,
        user=USER,
        password=password,
        dbname=database,
        sslmode="disable",
        gssencmode="disable",
        options="-c client_min_messages=warning",
        connect_timeout=5,
        autocommit=True,
    )


def _answers(layout: Layout, port: int, password: str) -> bool:
    import psycopg

    try:
        with _connect(port, DATABASE, password) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.Error:
        return False
    # A copy of this home has the same password, and its server may have got our port.
    return row is not None and row[0] == str(layout.data_dir)


def _prepare_database(port: int, password: str) -> None:
    """Make database and extension where they are missing; bring the extension to the version that the wheel has.

    Raises PasswordRefusedError; SetupError (POSTGRES_NOT_USABLE) with what the server says.
    """
    import psycopg

    try:
        with _connect(port, "postgres", password) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                # The other strategy writes the template's 8 MB through the WAL: half a second, this 0.2.
                connection.execute(f"CREATE DATABASE {DATABASE} STRATEGY file_copy")
        with _connect(port, DATABASE, password) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("ALTER EXTENSION vector UPDATE")
    except psycopg.Error as error:
        # No SQLSTATE reaches us before a connection is made; the server's messages are in English (lc_messages).
        if "password authentication failed" in str(error):
            raise PasswordRefusedError from error
        raise SetupError(
            "POSTGRES_NOT_USABLE",
            f"The database runs but cannot be used: {error}. At too many clients end some of them; else see its log.",
        ) from error


def _read_state(layout: Layout) -> State | None:
    text = read_file(layout.state_file)
    try:
        return msgspec.json.decode(text, type=State) if text else None
    except msgspec.DecodeError:
        return None  # torn or foreign: the running server or a new port replaces it
