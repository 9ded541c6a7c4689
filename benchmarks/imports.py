"""A large file through the real command, beside the floor of its database statements, in one run.

    python benchmarks/imports.py FILE [--skip-floor]

Starts a fake embedding service (20 ms and 0.2 ms a text, 384 dimensions) and imports the file, the file again, the file with one
row changed, with 1 % changed, and its first 10,000 rows into another collection. For each it prints seconds as a person waits
for them and as the phases took them, texts sent, and the peak memory of the process that executes the run.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from benchmarks.floor import measure
from helix_pipelines_tests.fakes.embedding_service import running_fake_process

SAMPLE_SECONDS = 0.02
MB = 1024 * 1024


class Peak:
    """The largest resident size that a run worker below this process reached, sampled."""

    def __init__(self, root: int) -> None:
        self.bytes = 0
        self._root = psutil.Process(root)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            with contextlib.suppress(psutil.Error):
                for child in self._root.children(recursive=True):
                    if "helix_pipelines.instance" in " ".join(child.cmdline()):
                        self.bytes = max(self.bytes, child.memory_info().rss)


def import_file(path: Path, environment: dict[str, str], *options: str) -> tuple[dict[str, Any], float, int]:
    """The command's JSON, its wall seconds and the peak of its run worker in bytes."""
    command = [str(Path(sys.executable).parent / "helix"), "import", str(path), "--json", *options]
    started = monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    peak = Peak(process.pid)
    output, _ = process.communicate()
    peak.stop()
    return json.loads(output), monotonic() - started, peak.bytes


def rows_of(path: Path) -> Iterator[list[str]]:
    """Records of the file, header first."""
    with contextlib.ExitStack() as stack:
        binary = stack.enter_context(path.open("rb"))
        unpacked = stack.enter_context(gzip.open(binary)) if path.suffix == ".gz" else binary
        yield from csv.reader(stack.enter_context(io.TextIOWrapper(unpacked, encoding="utf-8", newline="")))


def write_variant(path: Path, target: Path, *, changed_every: int | None = None, limit: int | None = None) -> Path:
    """A copy in which the answer of some rows is another one, or that ends early."""
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, row in enumerate(rows_of(path)):
            if limit is not None and number > limit:
                break
            changed = changed_every and number and number % changed_every == 0
            writer.writerow([row[0], f"{row[1]} (as of version {changed_every})"] if changed else row)
    return target


def report(name: str, result: dict[str, Any], wall: float, peak: int, texts: int) -> float:
    """Print one line; returns the seconds that the phases took."""
    line = result["imports"][0]
    phases: float = sum(result["seconds"].values())
    outcomes = " ".join(
        f"{key}={line[key]}" for key in ("rows_read", "inserted", "updated", "unchanged", "duplicate") if line[key]
    )
    print(f"{name:<16} {result['status']:<6} {wall:6.1f} s, phases {phases:6.1f} s, {texts:>6} texts, "
          f"peak {peak / MB:4.0f} MB  {outcomes}")  # fmt: skip
    return phases


def main() -> None:
    """Run all variants and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--skip-floor", action="store_true")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_fake_process(latency_ms=20, per_text_ms=0.2, dimensions=384) as fake,
    ):
        home = Path(folder)
        environment = {
            **os.environ,
            "HELIX_HOME": str(home / "home"),
            "HELIX_EMBEDDING_URL": fake.url,
            "HELIX_EMBEDDING_MODEL": "fake",
            "HELIX_EMBEDDING_DIMENSIONS": "384",
        }
        one = write_variant(arguments.file, home / "one.csv", changed_every=50_000)
        percent = write_variant(arguments.file, home / "percent.csv", changed_every=100)
        part = write_variant(arguments.file, home / "part.csv", limit=10_000)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        phases: dict[str, float] = {}
        for name, path, collection in (
            ("first 10,000", part, "part"),
            ("whole file", arguments.file, "whole"),
            ("again", arguments.file, "whole"),
            ("one in 50,000", one, "whole"),
            ("1 % changed", percent, "whole"),
        ):
            fake.reset()
            result, wall, peak = import_file(path, environment, "--source", "file", "--collection", collection)
            phases[name] = report(name, result, wall, peak, fake.counters().texts)
    if not arguments.skip_floor:
        floor = measure(arguments.file)["total"]
        print(
            f"floor            {floor:.1f} s; the whole file's phases are {phases['whole file'] / floor:.2f} times that"
        )


if __name__ == "__main__":
    main()
