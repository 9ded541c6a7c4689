"""Dagster's instance folder, `HELIX_HOME/dagster`, made from the readable `dagster.yaml` and `workspace.yaml`.

No Dagster import here: `helix import` prepares the folder and leaves the import of Dagster to the process of the run.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from helix_pipelines.instance.home_files import make_folder, read_file, write_file
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings
from helix_pipelines.storage.schema import sqlalchemy_url

INSTANCE_FILES = ("dagster.yaml", "workspace.yaml")
URL_VARIABLE = "HELIX_DAGSTER_DATABASE_URL"
"""Where `dagster.yaml` finds the database."""
PACKAGE = Path(__file__).resolve().parent.parent
ORIGINALS = (PACKAGE.parent, PACKAGE / "instance")
"""Where the originals are: at the top of a checkout, inside the package where it was installed from a wheel."""


def dagster_folder(settings: Settings) -> Path:
    """The value of DAGSTER_HOME: absolute, as Dagster refuses anything else."""
    return settings.home.absolute() / "dagster"


def dagster_url(database_url: str) -> str:
    """The URL for Dagster's storage: psycopg 2, and its tables in schema `public`.

    The second has to be said: where the user is called `helix`, the server's default search path ("$user", public)
    would put them into our schema, and Dagster's `alembic_version` would be taken for ours. Dagster writes times without their
    zone and reads them as UTC, whatever the server's zone is.
    """
    base, _, query = sqlalchemy_url(database_url, "psycopg2").partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    parameters["options"] = f"{parameters.get('options', '')} -csearch_path=public -ctimezone=UTC".strip()
    return f"{base}?{urlencode(parameters, quote_via=quote)}"


def prepare_dagster_home(settings: Settings, database_url: str) -> Path:
    """Bring the instance folder up to date with the originals and return it, once the URL is known to be usable.

    Raises SetupError: DATABASE_URL_INVALID for a URL that Dagster could not use, and what `write_instance_files` raises.
    """
    dagster_url(database_url)
    return write_instance_files(settings)


def write_instance_files(settings: Settings) -> Path:
    """Bring the instance folder up to date with the originals and return it.

    Safe while other processes read it or do the same: a file is replaced whole, and only when it differs. Only the
    owner can read the folder, as Dagster keeps the output of runs in it. The database's URL never reaches the disk: the
    files name the environment variables that `dagster_environment` sets.

    Raises SetupError (DAGSTER_FILES_MISSING).
    """
    home = dagster_folder(settings)
    make_folder(home)
    for name in INSTANCE_FILES:
        content = _original(name).read_text(encoding="utf-8")
        if read_file(home / name) != content:
            write_file(home / name, content)
    return home


def dagster_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """What a Dagster process needs on top of the inherited environment."""
    return {**home_environment(settings), URL_VARIABLE: dagster_url(database_url)}


def home_environment(settings: Settings) -> dict[str, str]:
    """The part of it that is known before there is a database.

    The variable HELIX_DATABASE_URL is set only where the deployment has a database of its own. With the embedded one a
    child has to find it through HELIX_HOME: that way it takes its share of the server's lock, and the server outlives
    whoever started it for as long as a run uses it.
    """
    environment = {
        "DAGSTER_HOME": str(dagster_folder(settings)),
        "HELIX_HOME": str(settings.home.absolute()),
        "HELIX_INBOX": str(settings.inbox_dir.absolute()),
    }
    if settings.database_url is not None:
        environment["HELIX_DATABASE_URL"] = settings.database_url.reveal()
    return environment


def _original(name: str) -> Path:
    for folder in ORIGINALS:
        if (folder / name).is_file():
            return folder / name
    places = " or ".join(str(folder) for folder in ORIGINALS)
    raise SetupError(
        "DAGSTER_FILES_MISSING", f"{name} is neither in {places}: the installation is incomplete, install it again."
    )
