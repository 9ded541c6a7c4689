"""Checks of the disk: home, space, inbox, store of originals, and what crashes and logs leave."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from helix_pipelines.instance.checkup import Answer, Check, fault, ok, warning
from helix_pipelines.instance.home_files import make_folder, read_file, write_file
from helix_pipelines.instance.postgres_layout import SYSTEM_ROOT
from helix_pipelines.settings import Settings

GB = 1024**3
FREE_NEEDED = GB
"""Bytes without which an import of some size fails: files are copied, rows staged, vectors written."""
FREE_WANTED = 5 * GB
INODES_WANTED = 0.01
"""Share of a file system's inodes: the store has a file for every import."""
LOGS_WANTED = GB
"""Bytes of logs above which somebody should look why."""
DRAFT = re.compile(r"\..+\.[0-9a-f]{8}([0-9a-f]{24})?")
"""A file that is being written (`home_files.write_file`, `ContentStore`); it has its name once it is whole."""
DRAFT_SECONDS = 3600.0
"""Age from which a draft is what a crash left."""
ENTRIES_SEEN = 50_000
"""Files of the home that are looked at: a second or two."""


def file_checks(settings: Settings) -> list[Check]:
    """The checks that need no database."""
    return [
        Check("home", lambda: check_home(settings.home)),
        Check("disk", lambda: check_space(settings.home)),
        Check("inbox", lambda: check_inbox(settings.inbox_dir)),
        Check("store", lambda: check_store(settings.store)),
        Check("litter", lambda: check_litter(settings.home)),
    ]


def check_home(home: Path) -> Answer:
    """Whether this account can write there. Raises SetupError (HOME_NOT_WRITABLE)."""
    make_folder(home)
    probe = home / f"doctor-{secrets.token_hex(4)}"
    write_file(probe, "written by `helix doctor`")
    probe.unlink()
    return ok(f"{home} is writable.")


def check_space(home: Path) -> Answer:
    """Whether there is room for more."""
    folder = next(path for path in (home, *home.absolute().parents) if path.is_dir())
    space, inodes = shutil.disk_usage(folder), os.statvfs(folder)
    detail = f"{space.free / GB:,.1f} of {space.total / GB:,.1f} GB are free in {home}."
    advice = "Free some space, enlarge the disk, or move HELIX_HOME to another one."
    if space.free < FREE_NEEDED:
        return fault(detail, advice)
    if space.free < FREE_WANTED:
        return warning(detail, advice)
    if inodes.f_files and inodes.f_favail < INODES_WANTED * inodes.f_files:
        return warning(f"{inodes.f_favail:,} of {inodes.f_files:,} inodes are free.", "Remove small files.")
    return ok(detail)


def check_inbox(inbox: Path) -> Answer:
    """Whether files that land there can be seen and read."""
    if not inbox.is_dir():
        return warning(f"{inbox} does not exist.", "`helix up` makes it; a mount has to be there before.")
    with os.scandir(inbox) as entries:
        seen = list(entries)
    closed = [entry.name for entry in seen if not os.access(entry.path, os.R_OK)]
    if closed:
        return warning(
            f"{len(closed)} of {len(seen)} entries of {inbox} cannot be read, such as {closed[0]!r}.",
            "Give this account the right to read them.",
        )
    return ok(f"{inbox} is readable; {len(seen):,} entries.")


def check_store(url: str) -> Answer:
    """Write a small object into the store of originals, read it back, remove it."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    path = f"{root.rstrip('/')}/.doctor-{secrets.token_hex(4)}"
    content = secrets.token_bytes(64)
    began = time.monotonic()
    try:
        files.makedirs(root, exist_ok=True)
        files.pipe_file(path, content)
        same = files.cat_file(path) == content
        files.rm_file(path)
    except Exception as error:  # noqa: BLE001 - every back end of fsspec has errors of its own
        return fault(
            f"{type(error).__name__}: {error}",
            "Check that the store of HELIX_STORE_URL exists, is mounted, has space and is permitted to this account.",
        )
    if not same:
        return fault("It does not give back what was written.", "Check the storage behind HELIX_STORE_URL.")
    return ok(f"Written, read and removed in {time.monotonic() - began:.2f} s.")


def check_litter(home: Path) -> Answer:
    """What crashes have left, databases of homes that are gone, and how much the logs take."""
    databases = list(_abandoned_databases(SYSTEM_ROOT))
    if databases:
        return warning(
            f"{len(databases):,} databases belong to homes that were removed, such as {databases[0]}.",
            "Nobody can use them any more: remove them.",
        )
    drafts = [*_old(path for path in _files(home) if DRAFT.fullmatch(path.name))]
    drafts += _old(Path(tempfile.gettempdir()).glob("helix-dry-run-*"))
    if drafts:
        return warning(f"A crash left {len(drafts):,} unfinished files, such as {drafts[0]}.", "They can be removed.")
    logs = sum(path.stat().st_size for path in _files(home / "logs"))
    if logs > LOGS_WANTED:
        return warning(f"The logs take {logs / GB:,.1f} GB.", f"Old ones in {home / 'logs'} can be removed.")
    return ok(f"Nothing unfinished; the logs take {logs / 1024**2:,.1f} MB.")


def _old(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that nobody is writing any more; one that vanishes while it is looked at was somebody's."""
    now = time.time()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > DRAFT_SECONDS:
                yield path


def _abandoned_databases(folder: Path) -> Iterator[Path]:
    """The folders of embedded databases (`postgres_layout.py`) whose home does not exist."""
    for named in folder.glob("*/home"):
        home = read_file(named)
        if home and not Path(home.strip()).exists():
            yield named.parent


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, the database's left out, up to a limit."""
    seen = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "postgres"]
        for name in names:
            seen += 1
            if seen > ENTRIES_SEEN:
                return
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path
