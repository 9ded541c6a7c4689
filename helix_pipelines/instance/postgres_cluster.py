"""The data folder of the embedded PostgreSQL: made in one step, configured at every start, refused where its version is
another.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from helix_pipelines.instance.home_files import read_file, write_file
from helix_pipelines.instance.postgres_binaries import ENVIRONMENT, Binaries
from helix_pipelines.instance.postgres_layout import Account, Layout
from helix_pipelines.resilience.errors import SetupError

USER = "helix"
DRAFT_NAME = "data.new"

INITDB_TIMEOUT = 300.0
"""Seconds; it takes 0.7 s on an idle disk."""

NEEDED_BYTES = 160 * 1024**2
"""A new data folder (39 MB), its first growth of WAL, and a copy of the programs."""

MIN_SHARED_MEMORY = 512 * 1024**2
"""Below this size of /dev/shm (containers have 64 MB) a parallel index build fails with "could not resize shared
memory".
"""

SETTINGS: dict[str, str] = {
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",  # an HNSW graph that does not fit is built several times slower
    "effective_cache_size": "1GB",
    "max_connections": "100",
    "random_page_cost": "1.1",  # solid state
    "jit": "off",  # costs 0.1-0.5 s on the first plan of a connection, and wins nothing on short statements
    "wal_level": "minimal",  # nothing replicates from here; `helix backup` uses pg_dump
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "wal_compression": "on",
    "max_wal_size": "2GB",  # fewer checkpoints in a large import
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Iterations make it slow to guess a password from what the server keeps of it, and cost every connection 5 ms at
    # the default of 4096. Ours is 24 random bytes, which nobody guesses, and Dagster connects for nearly every statement.
    "scram_iterations": "1",
    "lc_messages": "C",  # start failures are told apart by text
    "log_line_prefix": "%m [%p] %a ",
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",  # a week of logs: each weekday's file is overwritten after seven days
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
"""For a small machine. ALTER SYSTEM goes before these."""


def create_cluster(
    binaries: Binaries, account: Account, layout: Layout, password: str, *, inherit: Sequence[int], durable: bool
) -> None:
    """Make the data folder with role `helix` and `password`; it appears under its name only when it is complete and on
    disk.

    `inherit` are descriptors that initdb keeps open: the start lock, so that an initdb which outlives us keeps others
    out. A data folder that need not survive a power cut is not `durable`.

    Raises SetupError: POSTGRES_DISK_FULL, POSTGRES_INITDB_FAILED.
    """
    free = shutil.disk_usage(layout.folder).free
    if free < NEEDED_BYTES:
        raise disk_full(layout.folder)
    draft = layout.folder / DRAFT_NAME
    if draft.exists():
        shutil.rmtree(draft)  # of an initdb that was interrupted
    draft.mkdir(mode=0o700)
    account.own(draft)
    layout.log_dir.mkdir(mode=0o700, exist_ok=True)
    account.own(layout.log_dir)
    password_file = layout.folder / "initial-password"
    write_file(password_file, password)
    account.own(password_file)
    try:
        initdb: list[str | Path] = [
            binaries.bin_dir / "initdb",
            "-D",
            draft,
            "-U",
            USER,
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
        ]
        # The builtin provider sorts by code point on every system; libc's order changes with its version and breaks
        # indexes.
        initdb += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb += ["--set", f"scram_iterations={SETTINGS['scram_iterations']}"]  # when it stores the password
        _run_initdb([*initdb, "--no-instructions", "--no-sync"], account, layout, inherit)
        if durable:
            _run_initdb([binaries.bin_dir / "initdb", "-D", draft, "--sync-only"], account, layout, inherit)
    finally:
        password_file.unlink(missing_ok=True)
    draft.rename(layout.data_dir)


def check_version(binaries: Binaries, layout: Layout) -> None:
    """Refuse the data folder of another major version, which this server cannot open.

    Raises SetupError: POSTGRES_VERSION_MISMATCH with the steps, POSTGRES_DATA_DAMAGED where it has no version at all.
    """
    found = (read_file(layout.data_dir / "PG_VERSION") or "").strip()
    if not found:
        raise SetupError(
            "POSTGRES_DATA_DAMAGED",
            f"{layout.data_dir} has no readable PG_VERSION, so it is not a whole data folder. Move it away, start "
            "again and "
            "`helix restore` the latest backup.",
        )
    if found != binaries.major:
        raise SetupError(
            "POSTGRES_VERSION_MISMATCH",
            f"{layout.data_dir} was written by PostgreSQL {found}, this Helix brings {binaries.major}. (1) With the "
            "earlier Helix run "
            f"`helix backup`; (2) move {layout.data_dir} away; (3) with this Helix run `helix restore` on that backup.",
        )


def write_configuration(layout: Layout, account: Account, extra: Mapping[str, str]) -> None:
    """Write postgresql.conf from SETTINGS and `extra`, so that a new release's settings apply from the next start
    on.
    """
    memory = Path("/dev/shm")  # noqa: S108 - asked for its size only
    scarce = not memory.is_dir() or shutil.disk_usage(memory).total < MIN_SHARED_MEMORY
    settings = {
        **SETTINGS,
        "dynamic_shared_memory_type": "mmap" if scarce else "posix",
        "log_directory": str(layout.log_dir),
        **extra,
    }
    quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
    header = "# Written by Helix at every start. Change a setting by ALTER SYSTEM, which goes before this file.\n"
    text = header + "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
    path = layout.data_dir / "postgresql.conf"
    if read_file(path) != text:
        write_file(path, text)
        account.own(path)


def reset_password(binaries: Binaries, account: Account, layout: Layout, password: str) -> None:
    """Give role `helix` another password, in a server that is stopped.

    Raises SetupError (POSTGRES_PASSWORD_FAILED) with what the server says.
    """
    answer = subprocess.run(
        [binaries.bin_dir / "postgres", "--single", "-D", layout.data_dir, "-c", "logging_collector=off", "postgres"],
        input=f"ALTER ROLE {USER} PASSWORD '{password}';\n",
        cwd=layout.folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT,
        check=False,
        **account.identity,
    )
    # Single-user mode ends with 0 whatever became of the statement.
    if answer.returncode != 0 or "ERROR:" in answer.stderr:
        raise SetupError(
            "POSTGRES_PASSWORD_FAILED",
            f"{layout.password_file} is lost or wrong, and setting another password failed: {answer.stderr.strip()}",
        )


def disk_full(folder: Path) -> SetupError:
    """The error for a disk without space."""
    free = shutil.disk_usage(folder).free / 1024**2
    return SetupError(
        "POSTGRES_DISK_FULL",
        f"The disk of {folder} is full ({free:.0f} MB free; a new database needs {NEEDED_BYTES // 1024**2}). Free some "
        "space there, or "
        "move HELIX_HOME to another disk, and start again: nothing that was committed is lost.",
    )


def _run_initdb(command: Sequence[str | Path], account: Account, layout: Layout, inherit: Sequence[int]) -> None:
    answer = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        cwd=layout.folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT,
        check=False,
        pass_fds=inherit,
        umask=0o077,
        **account.identity,
    )
    if answer.returncode == 0:
        return
    said = (answer.stderr.strip() or answer.stdout.strip())[-2000:]
    if "No space left on device" in said or "Disk quota exceeded" in said:
        raise disk_full(layout.folder)
    raise SetupError(
        "POSTGRES_INITDB_FAILED",
        f"A database could not be made in {layout.folder}. Correct what initdb says and start again, or name a "
        "database by "
        f"HELIX_DATABASE_URL. It said:\n{said}",
    )
