"""Where the embedded PostgreSQL keeps its things, and the account that it runs as.

PostgreSQL never runs as root. For an ordinary user everything is in `<home>/postgres`. For root the server runs as an
account that cannot be expected to reach a home below /root or in any other 0700 folder, so the data lives in
`/var/lib/helix/<name>` and `<home>/postgres/location` says where; only root reads what stays in the home.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from helix_pipelines.instance.home_files import make_folder, read_file, write_file
from helix_pipelines.resilience.errors import SetupError

SYSTEM_ROOT = Path("/var/lib/helix")
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")


class Identity(TypedDict, total=False):
    """The arguments of `subprocess` that change who runs a command; empty where it is us."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The account that runs the server."""

    uid: int
    gid: int

    @property
    def identity(self) -> Identity:
        """How `subprocess` becomes this account."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Hand a file or folder that we have just made to this account."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True)
class Layout:
    """The paths of one server: `control` is in the home and ours, `folder` is the server's."""

    control: Path
    folder: Path

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's own folder, 0700, of the account that runs it."""
        return self.folder / "data"

    @property
    def log_dir(self) -> Path:
        """A log file for each weekday."""
        return self.folder / "log"

    @property
    def start_log(self) -> Path:
        """What the server says before its own log is open; made anew at every start."""
        return self.control / "start.log"

    @property
    def password_file(self) -> Path:
        """The password of role `helix`."""
        return self.control / "password"

    @property
    def state_file(self) -> Path:
        """The port, as the last start left it."""
        return self.control / "state.json"

    @property
    def running_lock(self) -> Path:
        """Held by the server's processes as long as one of them lives, in whatever container."""
        return self.control / "running.lock"


def control_folder(home: Path) -> Path:
    """The part of the server's files that is always in the home."""
    return home / "postgres"


def find_layout(home: Path) -> Layout | None:
    """The layout of a home that has one already; reads at most one small file."""
    control = control_folder(home)
    if (control / "data").exists():
        return Layout(control, control)
    location = read_file(control / "location")
    if location:
        return Layout(control, Path(location.strip()))
    return None


def establish_layout(home: Path) -> Layout:
    """The layout of a home, decided now where it is new. The caller holds the start lock.

    Raises SetupError: POSTGRES_OTHER_ACCOUNT where root made this home and we are not root.
    """
    found = find_layout(home)
    if found is None and os.geteuid() == 0:
        found = _establish_system_folder(home)
    layout = found or Layout(control_folder(home), control_folder(home))
    if layout.folder != layout.control and os.geteuid() != 0:
        raise SetupError(
            "POSTGRES_OTHER_ACCOUNT",
            f"The database of {home} was made by root and is in {layout.folder}. Run Helix as root, or choose another "
            "folder "
            "by HELIX_HOME.",
        )
    return layout


def account_of(layout: Layout) -> Account:
    """The owner of the data folder; for a new one ourselves, or as root an existing account without privileges.

    Raises SetupError: POSTGRES_NO_ACCOUNT, POSTGRES_OTHER_ACCOUNT.
    """
    us = os.geteuid()
    owner = _owner(layout.data_dir)
    if owner is not None and us not in {0, owner.uid}:
        raise SetupError(
            "POSTGRES_OTHER_ACCOUNT",
            f"{layout.data_dir} belongs to the account {owner.uid}, not to {us}. Run Helix as its owner, or choose "
            "another folder "
            "by HELIX_HOME.",
        )
    account = owner or (Account(us, os.getegid()) if us != 0 else _unprivileged_account())
    if account.uid == 0:
        raise SetupError(
            "POSTGRES_NO_ACCOUNT",
            f"{layout.data_dir} belongs to root, and PostgreSQL does not run as root. Give it to an ordinary account: "
            f"chown -R nobody {layout.data_dir}",
        )
    return account


def _establish_system_folder(home: Path) -> Layout:
    """A new folder below SYSTEM_ROOT. Its name is never used twice, so that a home that was removed and made again is
    empty.
    """
    name = f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}-{secrets.token_hex(4)}"
    folder = SYSTEM_ROOT / name
    try:
        for path in (SYSTEM_ROOT, folder):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)  # the server's account passes through; the data folder itself is 0700
    except OSError as error:
        raise SetupError(
            "POSTGRES_FOLDER_REFUSED",
            f"As root the database lives in {folder}, which cannot be made ({error.strerror}). Run Helix as an "
            "ordinary user, or "
            "name a database by HELIX_DATABASE_URL.",
        ) from error
    write_file(folder / "home", f"{home}\n")  # tells an operator whose data this is
    control = control_folder(home)
    make_folder(control)
    write_file(control / "location", f"{folder}\n")
    return Layout(control, folder)


def _owner(path: Path) -> Account | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Account(status.st_uid, status.st_gid)


def _unprivileged_account() -> Account:
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise SetupError(
        "POSTGRES_NO_ACCOUNT",
        f"PostgreSQL does not run as root, and there is no account named {' or '.join(UNPRIVILEGED_ACCOUNTS)} to run "
        "it. Run Helix as "
        "an ordinary user, or name a database by HELIX_DATABASE_URL.",
    )
