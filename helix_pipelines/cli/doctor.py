"""`helix doctor`: is this deployment fit to work, and what is to be mended?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from helix_pipelines.cli.output import ExitCode, JsonOption, say, write_json
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import load_settings

if TYPE_CHECKING:
    from helix_pipelines.instance.checkup import Result

COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}
CHECK_WIDTH = 12


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(as_json: JsonOption = False) -> int:
    """Check settings, disk, database, embedding service and Dagster within half a minute. Exit 1 if something is at fault.

    Try:

    - `helix doctor`
    - `helix doctor --json`
    """
    from helix_pipelines.instance.doctor import is_healthy

    results = _examine()
    if as_json:
        write_json({"checks": [_line(result) for result in results]})
    else:
        for result in results:
            _show(result)
    return ExitCode.DONE if is_healthy(results) else ExitCode.FAILED


def _examine() -> list[Result]:
    from helix_pipelines.instance.checkup import Result, fault, ok
    from helix_pipelines.instance.doctor import examine

    try:
        settings = load_settings()
    except SetupError as error:
        return [Result("settings", fault(error.message, "The other checks need the settings."))]
    return [Result("settings", ok("They can be read.")), *examine(settings)]


def _line(result: Result) -> dict[str, str]:
    answer = result.answer
    return {"check": result.check, "status": answer.status, "detail": answer.detail, "advice": answer.advice}


def _show(result: Result) -> None:
    answer = result.answer
    say(f"{answer.status:8}", colour=COLOURS[answer.status], end="")
    say(f"{result.check:{CHECK_WIDTH}}{answer.detail}")
    if answer.advice:
        say(f"{'':{8 + CHECK_WIDTH}}{answer.advice}")
