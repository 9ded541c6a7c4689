"""What each file of a collection costs at most: seconds and memory of its reader, in a process of its own.

    python -m benchmarks.hostile DATA

DATA is a folder with a `manifest.csv` that has the column `path`. Prints what became of the files, the five slowest and the five
that took most memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

from helix_pipelines.ingestion.archives import store_members
from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import make_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

SHOWN = 5
LIMITS = ParseLimits()


def main() -> None:
    """Read every file of the collection, or with --one a single one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="DATA")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.path)))
        return
    with (options.path / "manifest.csv").open(newline="", encoding="utf-8") as file:
        paths = [line["path"] for line in csv.DictReader(file)]
    results = {path: run(options.path / path) for path in paths}
    print(f"{len(paths)} files: {dict(Counter(result['ended'] for result in results.values()))}")
    for what, unit in (("seconds", "s"), ("peak_mb", "MB")):
        print(f"Most {what}:")
        for path in sorted(results, key=lambda path: -results[path][what])[:SHOWN]:
            print(f"  {results[path][what]:8.2f} {unit:<3}{path}")


def run(path: Path) -> dict[str, Any]:
    """Measure one file in a process of its own; what ends that process is told as `crashed`."""
    command = [sys.executable, "-m", "benchmarks.hostile", str(path), "--one"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"ended": "crashed", "seconds": 0.0, "peak_mb": 0.0}
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def measure(path: Path) -> dict[str, object]:
    """Seconds and peak memory of reading a file to its end, and whether it was accepted."""
    started = monotonic()
    try:
        sniffed = sniff(lambda: path.open("rb"), path.name, LIMITS)
        if sniffed.format == "zip":
            with path.open("rb") as binary:
                store_members(binary, ContentStore("memory://benchmark"), LIMITS)
        else:
            for _ in make_reader(ReadRequest(lambda: path.open("rb"), sniffed, LIMITS)).chunks():
                pass
        ended = "accepted"
    except FileRejectedError:
        ended = "rejected"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ended": ended, "seconds": monotonic() - started, "peak_mb": peak}


if __name__ == "__main__":
    main()
