from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helix_pipelines.cli import main
from helix_pipelines.instance.child import offspring
from helix_pipelines.instance.dagster_services import choose_ui_port, ui_answers
from helix_pipelines.instance.supervisor import Supervisor, shut_down, start_detached
from helix_pipelines.instance.up_state import UpState, last_state
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Secret, Settings, load_settings
from helix_pipelines_tests.waiting import until


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path, make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Those of a home with a database of its own and an embedding service that nobody calls, in the environment."""
    monkeypatch.setenv("HELIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HELIX_DATABASE_URL", make_database())
    monkeypatch.setenv("HELIX_EMBEDDING_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HELIX_UI_PORT", str(free_port()))  # not 3000, which somebody's own Helix may have
    settings = load_settings(env_file=None)
    yield settings
    shut_down(settings)


@pytest.mark.recovery
@pytest.mark.timeout(240)
def test_everything_is_started_kept_alive_and_stopped(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    state = start_detached(settings)
    port = int(state.ui.rpartition(":")[2])
    assert ui_answers(port)
    assert Path(state.inbox).is_dir()
    assert set(state.children) == {"dagster-webserver", "dagster-daemon"}

    assert main(["up", "--json"]) == 0
    assert '"status":"already_running","ready":true' in capsys.readouterr().out

    os.kill(state.children["dagster-daemon"].pid, signal.SIGKILL)
    until(lambda: (now := last_state(settings.home)) is not None and _replaced(state, now, "dagster-daemon"))
    assert "dagster-daemon ended (SIGKILL)" in (settings.home / "logs" / "up.log").read_text()

    os.kill(state.supervisor.pid, signal.SIGKILL)
    until(lambda: not state.supervisor.alive())
    again = start_detached(settings)
    assert again.supervisor != state.supervisor
    assert not state.children["dagster-webserver"].alive()

    assert main(["down", "--json"]) == 0
    assert '"status":"stopped"' in capsys.readouterr().out
    assert offspring(settings.home) == []
    assert not ui_answers(port)
    assert main(["down"]) == 0
    assert "Helix was not running." in capsys.readouterr().out


def test_a_start_that_fails_tells_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIX_DATABASE_URL", "postgresql://helix:hidden@127.0.0.1:9/none")
    with pytest.raises(SetupError, match="UP_FAILED") as caught:
        start_detached(settings)
    assert "DATABASE_UNREACHABLE" in caught.value.message
    assert "hidden" not in caught.value.message


def test_what_was_started_is_stopped_where_a_later_part_fails(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home", database_url=Secret("postgresql://127.0.0.1:9/none"), embedding_url="http://127.0.0.1:9"
    )
    with pytest.raises(SetupError, match="DATABASE_UNREACHABLE"):
        Supervisor(settings, print, print).run()
    assert last_state(settings.home) is None
    with pytest.raises(SetupError, match="DATABASE_UNREACHABLE"):  # and not ALREADY_UP
        Supervisor(settings, print, print).run()


def test_the_reactions_to_signals_come_back_after_the_end(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    test_what_was_started_is_stopped_where_a_later_part_fails(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_ui_takes_the_next_free_port_unless_one_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match="UI_PORT_BUSY"):
            choose_ui_port(port)
    assert choose_ui_port(port) == port
    assert 3000 <= choose_ui_port(None) < 3050


def test_asking_for_help_does_not_import_dagster() -> None:
    code = (
        "import sys; from helix_pipelines.cli import main; main(['up', '--help']); sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def _replaced(before: UpState, now: UpState, child: str) -> bool:
    return child in now.children and now.children[child] != before.children[child]
