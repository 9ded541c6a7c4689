"""A checkup of a deployment from the outside, within half a minute whatever hangs."""

from __future__ import annotations

from helix_pipelines.instance.checkup import Check, Result, Status, run_checks, warning
from helix_pipelines.instance.doctor_database import DatabaseSession, database_checks
from helix_pipelines.instance.doctor_files import file_checks
from helix_pipelines.settings import Settings

FIRST_SECONDS = 12.0
"""For the disk and for reaching the database, which may have to be started."""
SECOND_SECONDS = 15.0
"""For everything that needs the database; loading Dagster takes 2 to 5 of them."""
NEEDING_DATABASE = (
    *("versions", "schema", "clock", "connections", "gates", "embedding"),
    *("code", "daemon", "sensors", "stranded"),
)


def examine(settings: Settings) -> list[Result]:
    """The result of every check. Nothing is changed but for a probe in the home and one in the store, which are removed."""
    session = DatabaseSession(settings)
    try:
        first = run_checks([*file_checks(settings), Check("database", session.open)], FIRST_SECONDS)
        if session.url is None:
            absent = warning("Not looked at: the database cannot be used.", "Mend that first.")
            return [*first, *(Result(name, absent) for name in NEEDING_DATABASE)]
        return [*first, *run_checks(_checks(settings, session.url), SECOND_SECONDS)]
    finally:
        session.close()


def is_healthy(results: list[Result]) -> bool:
    """Whether there is no fault."""
    return all(result.answer.status is not Status.FAULT for result in results)


def _checks(settings: Settings, url: str) -> list[Check]:
    from helix_pipelines.instance.doctor_dagster import dagster_checks
    from helix_pipelines.instance.doctor_services import embedding_check

    return [*database_checks(settings, url), embedding_check(settings, url), *dagster_checks(settings, url)]
