"""Drops files into the inbox of a running service for as long as is wanted, while its embedding service fails in small and large
ways and workers are killed now and then; watches the memory of the service's processes.

    python -m helix_pipelines_tests.recovery.soak --seconds 3600
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from helix_pipelines_tests.fakes.accounting import OutageKind
from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery.dropped_files import Drop, DroppedFiles
from helix_pipelines_tests.recovery.import_progress import batches, contradictions, is_taken
from helix_pipelines_tests.recovery.live_service import BEHAVIOUR, LiveService, live_service
from helix_pipelines_tests.recovery.victims import Victim, kill, processes_of
from helix_pipelines_tests.waiting import until

SAMPLE_SECONDS = 5.0
DROP_SECONDS = 45.0
"""Between two rounds of files; a round takes half a minute on two processors, so the queue is never empty for long."""
FAULT_SHARE = 0.4
"""Of the rounds, those in which the embedding service is out for a while, or the worker of a run is killed."""
OUTAGES: tuple[OutageKind, ...] = ("503", "refused", "hang")
LONGEST_OUTAGE = 20.0
DRAINED_WITHIN = 900.0
MEGABYTE = 1024**2


@dataclass
class Memory:
    """Resident memory of the service's processes over time. A process that was replaced begins a series of its own."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Name and pid -> seconds and megabytes."""

    def look(self, service: LiveService, now: float) -> None:
        """Add a sample of each process."""
        for name, process in service_processes(service).items():
            try:
                resident = process.memory_info().rss / MEGABYTE
            except psutil.NoSuchProcess:
                continue
            self.samples.setdefault(name, []).append((now, resident))

    def slopes(self) -> dict[str, float]:
        """Megabytes an hour by process, by least squares over the second half of its life; of those that lived for long."""
        longest = max(len(series) for series in self.samples.values())
        return {name: slope(series) for name, series in self.samples.items() if len(series) * 2 > longest}


def slope(series: Sequence[tuple[float, float]]) -> float:
    """Megabytes an hour over the second half of a series of seconds and megabytes."""
    seconds, megabytes = np.array(series[len(series) // 2 :]).T
    return float(np.polyfit(seconds, megabytes, 1)[0] * 3600)


def service_processes(service: LiveService) -> Mapping[str, psutil.Process]:
    """Supervisor, daemon, webserver, and the code servers that the last two started."""
    state = service.state()
    found = {"supervisor": psutil.Process(state.supervisor.pid)}
    for name, mark in state.children.items():
        try:
            process = psutil.Process(mark.pid)
            below = [child for child in process.children() if "grpc" in child.cmdline()]
        except psutil.NoSuchProcess:
            continue
        found[name] = process
        found |= {f"code server of {name} ({child.pid})": child for child in below}
    return found


def soak(service: LiveService, seconds: float, seed: int = 1) -> Memory:
    """Drop files and take samples, then wait until all is imported. Raises AssertionError where the result is not exact."""
    memory, files, chance = Memory(), DroppedFiles(seed, least=50, most=400), random.Random(seed)
    drops: dict[str, Drop] = {}
    began = time.monotonic()
    drop_at, number = began, 0
    while (now := time.monotonic()) < began + seconds:
        memory.look(service, now - began)
        if now >= drop_at and all(is_taken(service, drop) for drop in drops.values()) and _is_calm(service):
            for drop in files.round(number):
                drop.write(service.settings.inbox_dir)
                drops[drop.path] = drop
            number, drop_at = number + 1, now + DROP_SECONDS * chance.uniform(0.2, 1.2)
        elif now < drop_at and chance.random() < FAULT_SHARE * SAMPLE_SECONDS / DROP_SECONDS:
            hurt(service, chance)
        time.sleep(SAMPLE_SECONDS)
    until(
        lambda: all(is_taken(service, drop) for drop in drops.values()) and not _open(service),
        DRAINED_WITHIN,
        "not drained",
    )
    wrong = contradictions(service, files, list(drops.values()))
    assert not wrong, "\n".join(wrong)
    return memory


def hurt(service: LiveService, chance: random.Random) -> None:
    """An outage of the embedding service, or a worker's death where one works."""
    running = [batch for batch in batches(service) if batch.state == "running"]
    if running and chance.random() < 0.5:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended just now
            kill(processes_of(service, Victim.WORKER, running[0].holder))
    else:
        kind = chance.choice(OUTAGES)
        service.fake.outage(kind, seconds=chance.uniform(1.0, LONGEST_OUTAGE))


def report(memory: Memory) -> str:
    """First and last sample and slope of each process."""
    lines = [f"{'process':<44} {'first MB':>9} {'last MB':>9} {'MB an hour':>11}"]
    for name, rate in sorted(memory.slopes().items()):
        series = memory.samples[name]
        lines.append(f"{name:<44} {series[0][1]:>9.1f} {series[-1][1]:>9.1f} {rate:>11.2f}")
    return "\n".join(lines)


def _open(service: LiveService) -> int:
    return sum(batch.is_open for batch in batches(service))


def _is_calm(service: LiveService) -> bool:
    """Whether the queue is short: what is dropped faster than it can be embedded proves nothing."""
    return _open(service) <= 2


def main() -> int:
    """Soak from the command line; 0 where the result was exact."""
    parser = argparse.ArgumentParser(description="Feed a service for a long time and watch its memory.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="helix-soak-", dir=options.folder) as folder,
        running_fake_process(BEHAVIOUR) as fake,
        live_service(Path(folder) / "home", fake, database_folder=Path(folder) / "database") as service,
    ):
        memory = soak(service, options.seconds)
    sys.stdout.write(report(memory) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
