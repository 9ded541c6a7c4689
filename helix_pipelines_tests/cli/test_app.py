from __future__ import annotations

from pathlib import Path

import pytest
import typer

from helix_pipelines import __version__
from helix_pipelines.cli import app
from helix_pipelines.cli.app import COMMANDS
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines_tests.cli.conftest import RunHelix, slow_modules_of


def register_failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def build(_command: str) -> typer.Typer:
        application = typer.Typer(callback=lambda: None)

        @application.command()
        def fail(as_json: bool = typer.Option(False, "--json")) -> None:
            raise error

        return application

    monkeypatch.setattr(app, "build", build)


def test_help_lists_every_command(helix: RunHelix) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        ended = helix(*arguments)
        assert ended.code == 0
        assert all(command in ended.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_teaches_its_use(helix: RunHelix, command: str) -> None:
    ended = helix(command, "--help")
    assert ended.code == 0
    assert f"Usage: helix {command}" in ended.stdout


def test_the_version_is_printed(helix: RunHelix) -> None:
    assert helix("--version").stdout == f"helix {__version__}\n"


def test_a_mistyped_command_is_wrong_use_and_the_right_one_is_proposed(helix: RunHelix) -> None:
    ended = helix("statsu")
    assert ended.code == 2
    assert "'status'" in ended.stderr
    assert ended.stdout == ""


def test_wrong_use_is_a_json_document_where_json_was_asked_for(helix: RunHelix) -> None:
    ended = helix("search", "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "USAGE"
    assert "helix search --help" in ended.document["error"]["message"]


def test_an_error_of_ours_prints_code_and_message(helix: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    register_failing(monkeypatch, SetupError("PORT_BUSY", "Free the port."))
    ended = helix("fail", "--json")
    assert ended.code == 1
    assert ended.stderr == "PORT_BUSY: Free the port.\n"
    assert ended.document == {"error": {"code": "PORT_BUSY", "message": "Free the port."}}


def test_an_unexpected_error_is_short_and_its_traceback_is_kept(
    helix: RunHelix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register_failing(monkeypatch, ZeroDivisionError("by zero"))
    ended = helix("fail")
    [log] = (tmp_path / "home" / "logs").iterdir()
    assert ended.code == 1
    assert ended.stderr == f"UNEXPECTED: ZeroDivisionError: by zero. The traceback is in {log}.\n"
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_a_traceback_that_cannot_be_kept_is_shown(
    helix: RunHelix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where the folder should be", encoding="utf-8")
    register_failing(monkeypatch, ZeroDivisionError("by\nzero"))
    ended = helix("fail", "--json")
    assert "Traceback (most recent call last)" in ended.stderr
    message = "ZeroDivisionError: by zero. The traceback is on stderr."
    assert ended.document == {"error": {"code": "UNEXPECTED", "message": message}}


@pytest.mark.parametrize("home", ["/proc/nope", "/dev/null", "/dev/null/below"])
@pytest.mark.parametrize("command", [("status",), ("recover",), ("up", "--detach")])
def test_a_home_where_none_can_be_is_named(
    helix: RunHelix, monkeypatch: pytest.MonkeyPatch, home: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HELIX_HOME", home)
    ended = helix(*command, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "HOME_NOT_WRITABLE")


def test_an_argument_that_is_no_text_is_wrong_use(helix: RunHelix) -> None:
    ended = helix("search", "caf\udce9", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (2, "ARGUMENT_NOT_UTF8")
    assert r"caf\xe9" in ended.stderr


GROUPS = {
    "queue": ("list", "add", "pause", "resume", "promote", "reorder", "cancel", "retry"),
    "quarantine": ("list", "export", "replay"),
    "breaker": ("status", "reset"),
    "gate": ("show", "set"),
    "db": ("upgrade", "check", "downgrade"),
}


@pytest.mark.parametrize(
    "words",
    [(command,) for command in COMMANDS] + [(group, verb) for group, verbs in GROUPS.items() for verb in verbs],
)
def test_every_help_has_an_example_to_try(helix: RunHelix, words: tuple[str, ...]) -> None:
    _, tried, example = helix(*words, "--help").stdout.partition("Try:")
    assert tried
    assert f"helix {' '.join(words)}" in example


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    "words",
    [
        ("quarantine", "list", "--import", "99999999999999999999"),
        ("quarantine", "list", "--import", "9" * 5000),
        ("quarantine", "export", "--import", "99999999999999999999"),
        ("queue", "list", "--limit", "99999999999999999999"),
        ("queue", "reorder", "nosuch", "99999999999999999999"),
        ("status", "99999999999999999999"),
        ("status", "9" * 5000),
        ("search", "x", "-k", "99999999999999999999"),
    ],
)
def test_a_number_beyond_the_database_s_is_wrong_use(helix_on_database: RunHelix, words: tuple[str, ...]) -> None:
    ended = helix_on_database(*words, "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] in {"USAGE", "UNKNOWN"}


def test_ctrl_c_is_no_error_message(helix: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    register_failing(monkeypatch, KeyboardInterrupt())
    ended = helix("fail")
    assert ended.code == 130
    assert ended.stderr == ""


def test_a_wrong_setting_is_named(helix: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIX_BATCH_TIMEOUT", "soon")
    ended = helix("status", "--json")
    assert ended.code == 1
    assert ended.document["error"]["code"] == "SETTING_INVALID"
    assert "HELIX_BATCH_TIMEOUT" in ended.document["error"]["message"]


@pytest.mark.usefixtures("helix_on_database")
@pytest.mark.parametrize("command", ["status", "verify"])
def test_commands_that_read_load_nothing_slow(command: str) -> None:
    assert slow_modules_of(command, "--json") == set()
