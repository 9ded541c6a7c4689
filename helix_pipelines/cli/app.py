"""The entry of `helix`: loads the module of the command that was asked for, runs it, and turns errors into words.

Loading every command would cost more than `helix status` may take as a whole, so only the named one is imported; a
command's module in turn imports what is slow (HTTP, Dagster, rich) inside its functions.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from helix_pipelines import __version__
from helix_pipelines.cli.output import ExitCode, complain, note, one_line
from helix_pipelines.resilience.errors import HelixError, UsageError

COMMANDS = {
    "up": "services",
    "down": "services",
    "import": "imports",
    "status": "status",
    "queue": "queue",
    "search": "search",
    "quarantine": "quarantine",
    "verify": "verify",
    "recover": "recover",
    "doctor": "doctor",
    "breaker": "gates",
    "gate": "gates",
    "db": "database",
    "backup": "backup",
    "restore": "backup",
    "embed-server": "embed_server",
    "settings": "settings",
}
"""Command -> the module of this package that has it, in the order in which `helix --help` lists them.

Every module has `register(app)`; one module may have several commands.
"""

INTRODUCTION = """Turn files of questions and answers into a searchable, traceable knowledge base.

Every command has --json for machines. Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with refused input under
--strict, 4 not finished.
"""


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process by default) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    as_json = "--json" in arguments
    try:
        _refuse_other_bytes(arguments)
        code = build(arguments[0])(arguments, prog_name="helix", standalone_mode=False)
        return int(code or ExitCode.DONE)
    except typer.TyperException as error:
        complain("USAGE", f"{error.format_message()} See `{_help_command(error)}`.", as_json=as_json)
        return error.exit_code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except HelixError as error:
        complain(error.code, error.message, as_json=as_json)
        return ExitCode.WRONG_USE if isinstance(error, UsageError) else ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets words, the log the traceback
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        complain("UNEXPECTED", f"{reason}. {_keep_traceback()}", as_json=as_json)
        return ExitCode.FAILED


def _refuse_other_bytes(arguments: Sequence[str]) -> None:
    """Raise UsageError (ARGUMENT_NOT_UTF8): neither the database nor JSON takes bytes that are no text."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = one_line(argument)
            raise UsageError(
                "ARGUMENT_NOT_UTF8", f"{shown} is not UTF-8: rename the file, or use a UTF-8 terminal."
            ) from error


def build(command: str) -> typer.Typer:
    """The application with the named command, or with all of them where the name is not one (`--help`, a typo)."""
    app = typer.Typer(
        help=INTRODUCTION,
        callback=_root,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    modules = [COMMANDS[command]] if command in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules:
        import_module(f"helix_pipelines.cli.{module}").register(app)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=lambda asked: _print_version(asked=asked))
    ] = False,
) -> None:
    """What belongs to `helix` itself."""


def _print_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"helix {__version__}")
        raise typer.Exit


def _help_command(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'helix'} --help"


def _keep_traceback() -> str:
    """Write the current error's traceback to the log folder, or to stderr where that is not possible, and say where."""
    story = traceback.format_exc()
    try:
        path = _log_folder() / f"helix-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"
        path.write_text(story, encoding="utf-8")
    except (OSError, HelixError):
        note(story)
        return "The traceback is on stderr."
    return f"The traceback is in {path}."


def _log_folder() -> Path:
    from helix_pipelines.settings import load_settings

    folder = load_settings().home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
