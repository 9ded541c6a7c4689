"""How long the commands that people wait for take, from pressing Enter, and where that time goes.

    python -m benchmarks.startup [--runs 9]

The database is that of the settings in force, so that figures for a full knowledge base are had by pointing HELIX_HOME or
HELIX_DATABASE_URL at one; the embedded database and embedder are kept running meanwhile, as `helix up` does. The package is
compiled first, as `make setup` does.

Beside the wall time, the median of all runs and the fastest, stands the processor's, as wall time says little on a busy machine.
The second line says in milliseconds what loading takes: Python itself, each library with all that it loads first, our own
modules and what they alone need. It is timed by Python, which makes it some percent slower, as the sum of each module's fastest
load. What it leaves of the whole is the command's work, waiting for the services, and the process's end.
"""

from __future__ import annotations

import argparse
import compileall
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter

import helix_pipelines
from helix_pipelines.instance.services import database, embedder
from helix_pipelines.settings import load_settings

LIMIT = 0.5
"""Seconds that `status` and `search` may take."""
HELIX = "import sys; from helix_pipelines.cli import main; sys.exit(main())"
COMMANDS = (["status", "--json"], ["search", "how do I pay", "--json"])
OURS = helix_pipelines.__name__
STANDARD = "the standard library"
NAMED = 5
"""How many parts of the loading are named; the others take a millisecond or less."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    settings = load_settings()
    compileall.compile_dir(helix_pipelines.__path__[0], quiet=1)
    with ExitStack() as services:
        services.enter_context(database(settings))
        services.enter_context(embedder(settings))
        bare = min(measure([sys.executable, "-c", "pass"])[0] for _ in range(runs))
        for arguments in COMMANDS:
            command = [sys.executable, "-c", HELIX, *arguments]
            measure(command)  # files come from the disk's cache afterwards
            figures = [measure(command) for _ in range(runs)]
            wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
            verdict = "ok" if wall <= LIMIT else f"over {LIMIT} s"
            fastest = min(figures)[0]
            print(f"helix {arguments[0]:<8} {wall:.3f} s wall (fastest {fastest:.3f}), {cpu:.3f} s CPU   {verdict}")
            parts = [("Python", bare), *loading(arguments, runs)[:NAMED]]
            print("   loading: " + ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in parts))


def measure(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    before, started = _cpu(), perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started, _cpu() - before


def loading(arguments: list[str], runs: int) -> list[tuple[str, float]]:
    """Seconds that a command takes to load each library, our modules and the rest, by the fastest load of each module.

    The slowest come first.
    """
    command = [sys.executable, "-X", "importtime", "-c", HELIX, *arguments]
    fastest: dict[tuple[str, str], float] = {}
    for _ in range(runs):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for module, part, seconds in _loads(done.stderr):
            fastest[module, part] = min(fastest.get((module, part), seconds), seconds)
    parts = dict.fromkeys((part for _, part in fastest), 0.0)
    for (_, part), seconds in fastest.items():
        parts[part] += seconds
    return sorted(parts.items(), key=lambda part: -part[1])


def _loads(report: str) -> Iterator[tuple[str, str, float]]:
    """Module, the part that it is counted to and its own seconds, from what `-X importtime` prints.

    A module is printed after those that it loads, which are indented by two columns more. Python's own start ends with `site`.
    """
    above: list[tuple[int, str]] = []
    for line in reversed(report.partition("| site\n")[2].splitlines()):
        _, is_load, figures = line.partition("import time:")
        if not is_load:
            continue
        own, _, module = figures.split("|")
        name = module.strip()
        depth = len(module) - len(module.lstrip())
        while above and above[-1][0] >= depth:
            above.pop()
        part = _part(name.partition(".")[0], above[-1][1] if above else STANDARD)
        above.append((depth, part))
        yield name, part, int(own) / 1_000_000


def _part(package: str, loaded_by: str) -> str:
    """A library answers for all that it loads."""
    if loaded_by not in {OURS, STANDARD}:
        return loaded_by
    return STANDARD if package in sys.stdlib_module_names else package


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
