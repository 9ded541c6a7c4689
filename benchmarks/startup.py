"""How long the commands that people wait for take, from pressing Enter: median and fastest of 9 runs, on a running database.

    python benchmarks/startup.py [--runs 9]

The database is that of the settings in force, so that figures for a full knowledge base are had by pointing HELIX_HOME or
HELIX_DATABASE_URL at one; the embedded database and embedder are kept running meanwhile, as `helix up` does. The package is
compiled first, as `make setup` does. CPU seconds are given too, as wall time says little on a busy machine.
"""

from __future__ import annotations

import argparse
import compileall
import resource
import statistics
import subprocess
import sys
from contextlib import ExitStack
from time import perf_counter

import helix_pipelines
from helix_pipelines.instance.services import database, embedder
from helix_pipelines.settings import load_settings

LIMIT = 0.5
"""Seconds that `status` and `search` may take."""
HELIX = [sys.executable, "-c", "import sys; from helix_pipelines.cli import main; sys.exit(main())"]
COMMANDS = (["status", "--json"], ["search", "how do I pay", "--json"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    settings = load_settings()
    compileall.compile_dir(helix_pipelines.__path__[0], quiet=1)
    with ExitStack() as services:
        services.enter_context(database(settings))
        services.enter_context(embedder(settings))
        for command in COMMANDS:
            measure(command)  # files come from the disk's cache afterwards
            figures = [measure(command) for _ in range(runs)]
            wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
            verdict = "ok" if wall <= LIMIT else f"over {LIMIT} s"
            fastest = min(figures)[0]
            print(f"helix {command[0]:<8} {wall:.3f} s wall (fastest {fastest:.3f}), {cpu:.3f} s CPU   {verdict}")


def measure(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    before, started = _cpu(), perf_counter()
    subprocess.run([*HELIX, *command], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started, _cpu() - before


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
