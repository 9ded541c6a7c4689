from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helix_pipelines.instance.child import (
    CALM,
    OFFSPRING,
    Child,
    ChildSpec,
    ProcessMark,
    end_processes,
    offspring,
    rotate,
    stop_children,
)
from helix_pipelines_tests.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


SLEEP = ["sleep", "60"]
STUBBORN = script(
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def create(command: list[str], clock: Clock | None = None) -> Child:
        spec = ChildSpec("child", command, tmp_path / "child.log", {OFFSPRING: str(tmp_path)})
        made.append(Child(spec, clock) if clock else Child(spec))
        return made[-1]

    yield create
    stop_children(made, 1)
    end_processes(offspring(tmp_path), 1)


def die(child: Child) -> None:
    assert child.mark is not None
    os.kill(child.mark.pid, signal.SIGKILL)
    until(lambda: not child.alive)


def test_a_dead_child_starts_again_with_growing_delays(make: Callable[..., Child]) -> None:
    clock = Clock()
    child = make(SLEEP, clock)
    child.start()
    for delay in (0.5, 1.0, 2.0):
        die(child)
        story = child.keep_alive()
        assert story is not None
        assert story.startswith(f"child ended (SIGKILL) after 0 s; starts again in {delay:g} s. See ")
        clock.now += delay - 0.1
        assert child.keep_alive() is None
        clock.now += 0.2
        assert child.keep_alive() == "child started again."
    assert child.restarts == 3


def test_the_delay_never_exceeds_half_a_minute(make: Callable[..., Child]) -> None:
    clock = Clock()
    child = make(["/bin/sh", "-c", "exit 3"], clock)
    child.start()
    stories = []
    for _ in range(9):
        until(lambda: not child.alive)
        stories.append(child.keep_alive() or "")
        clock.now += 30.0
        child.keep_alive()
    assert "exit code 3" in stories[0]
    assert "starts again in 30 s" in stories[-1]


def test_a_minute_alive_makes_earlier_deaths_forgotten(make: Callable[..., Child]) -> None:
    clock = Clock()
    child = make(SLEEP, clock)
    child.start()
    die(child)
    child.keep_alive()
    clock.now += 1
    child.keep_alive()
    clock.now += CALM
    die(child)
    assert "after 60 s; starts again in 0.5 s" in (child.keep_alive() or "")


def test_a_command_that_cannot_be_started_is_tried_again_later(make: Callable[..., Child], tmp_path: Path) -> None:
    clock = Clock()
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    program.chmod(0o755)
    child = make([str(program)], clock)
    child.start()
    die(child)
    program.chmod(0o000)
    program.rename(tmp_path / "away")
    child.keep_alive()
    clock.now += 1
    assert "could not be started" in (child.keep_alive() or "")
    (tmp_path / "away").rename(program)
    program.chmod(0o755)
    clock.now += 1
    assert child.keep_alive() == "child started again."


def test_a_child_that_ignores_sigterm_is_killed(make: Callable[..., Child], tmp_path: Path) -> None:
    child = make(STUBBORN)
    mark = child.start()
    until(lambda: "up" in (tmp_path / "child.log").read_text())
    stop_children([child], 0.2)
    assert not mark.alive()


def test_children_end_beside_each_other(make: Callable[..., Child], tmp_path: Path) -> None:
    slow = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit()))"
    children = [make(script(f"{slow}; print('up', flush=True); time.sleep(60)")) for _ in range(3)]
    for child in children:
        child.start()
    until(lambda: (tmp_path / "child.log").read_text().count("up") == 3)
    asked = time.monotonic()
    stop_children(children, 10)
    assert 0.5 <= time.monotonic() - asked < 1.5
    assert not any(child.alive for child in children)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from helix_pipelines.instance.child import Child, ChildSpec
from helix_pipelines_tests.waiting import until
import time
mark = Child(ChildSpec("child", {SLEEP!r}, Path({str(tmp_path)!r}) / "child.log")).start()
print(mark.pid, mark.started, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(script(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, started = parent.stdout.readline().split()
        mark = ProcessMark(int(pid), float(started))
        assert mark.alive()
        parent.kill()
    until(lambda: not mark.alive())


def test_a_pid_that_another_process_got_is_not_the_marked_one() -> None:
    ours = ProcessMark.of(os.getpid())
    assert ours.alive()
    assert not ProcessMark(ours.pid, ours.started - 100).alive()
    assert end_processes([ProcessMark(ours.pid, ours.started - 100)], 1) == []


def test_what_a_child_started_is_found_and_ended_even_when_the_child_is_gone(
    make: Callable[..., Child], tmp_path: Path
) -> None:
    grandchild = f"import subprocess, sys; print(subprocess.Popen({SLEEP!r}).pid, flush=True)"
    child = make(script(grandchild))
    child.start()
    until(lambda: not child.alive)
    pid = int((tmp_path / "child.log").read_text().split()[0])
    assert [mark.pid for mark in offspring(tmp_path)] == [pid]
    assert [mark.pid for mark in end_processes(offspring(tmp_path), 5)] == [pid]
    assert offspring(tmp_path) == []
    assert offspring(tmp_path / "other home") == []


def test_a_full_log_is_cut_while_its_writer_goes_on(make: Callable[..., Child], tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = make(script("import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.03)"))
    child.start()
    until(lambda: log.exists() and log.stat().st_size > 1000)
    rotate(log, limit=1000)
    until(lambda: log.stat().st_size > 200)
    assert log.stat().st_size < 1000
    assert (tmp_path / "child.log.1").stat().st_size > 1000
    assert log.read_text().splitlines()[0] == "x" * 99, "the writer appends; no hole is left at the start"
