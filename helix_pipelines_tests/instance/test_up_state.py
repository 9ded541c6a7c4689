from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helix_pipelines.instance.child import OFFSPRING, ProcessMark
from helix_pipelines.instance.up_state import (
    UpState,
    end_leftovers,
    is_up,
    last_state,
    only_supervisor,
    running_state,
    stop,
)
from helix_pipelines.resilience.errors import SetupError

SUPERVISOR = """
import os, signal, sys, threading
from pathlib import Path
from helix_pipelines.instance.child import ProcessMark
from helix_pipelines.instance.up_state import UpState, only_supervisor
home, stopping = Path(sys.argv[1]), threading.Event()
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else lambda *_: stopping.set())
with only_supervisor(home) as publish:
    publish(UpState(supervisor=ProcessMark.of(os.getpid()), ui="http://127.0.0.1:1", inbox="", logs=""))
    print("up", flush=True)
    stopping.wait(60)
"""
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start `python -c CODE ARGUMENTS`, with `environment`; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_home_has_one_supervisor_at_most(tmp_path: Path, run: Run) -> None:
    process = run(SUPERVISOR, str(tmp_path))
    state = running_state(tmp_path)
    assert state is not None
    assert state.supervisor.pid == process.pid
    with pytest.raises(SetupError, match="ALREADY_UP"), only_supervisor(tmp_path):
        pass
    assert stop(tmp_path)
    assert process.wait(10) == 0
    assert running_state(tmp_path) is None
    assert last_state(tmp_path) is None


def test_stopping_when_nothing_runs_says_so(tmp_path: Path) -> None:
    assert not is_up(tmp_path)
    assert not stop(tmp_path)


def test_a_killed_supervisor_frees_the_home_at_once(tmp_path: Path, run: Run) -> None:
    process = run(SUPERVISOR, str(tmp_path))
    process.kill()
    process.wait()
    assert last_state(tmp_path) is not None
    assert running_state(tmp_path) is None
    with only_supervisor(tmp_path):
        assert is_up(tmp_path)


def test_a_supervisor_that_does_not_end_is_killed(tmp_path: Path, run: Run) -> None:
    process = run(SUPERVISOR, str(tmp_path), "stubborn")
    started = time.monotonic()
    assert stop(tmp_path, timeout=0.3)
    assert time.monotonic() - started < 15
    assert process.wait(1) == -9
    assert not is_up(tmp_path)


def test_only_marked_leftovers_of_a_crash_are_ended(tmp_path: Path, run: Run) -> None:
    left, reused, worker = run(SLEEPER), run(SLEEPER), run(SLEEPER, **{OFFSPRING: str(tmp_path)})
    with only_supervisor(tmp_path) as publish:
        publish(
            UpState(
                supervisor=ProcessMark(1, 0.0),
                ui="",
                inbox="",
                logs="",
                children={"left": ProcessMark.of(left.pid), "reused": ProcessMark(reused.pid, 0.0)},
            )
        )
        assert end_leftovers(tmp_path) == 1
        assert left.wait(1) == -15
    stop(tmp_path)
    assert worker.wait(1) == -15, "running runs are ended by `down`"
    assert reused.poll() is None, "a pid that another process has by now is left alone"


def test_a_state_that_cannot_be_read_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "state.json").write_text('{"of": "another version"}')
    assert last_state(tmp_path) is None
