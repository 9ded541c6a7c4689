"""The gate under real processes: how fast it answers, and whether one budget holds and is used, whoever shares it.

    python benchmarks/gate.py                       pairs, then the matrix: 1, 4, 16 processes x kinds of server x what binds
    python benchmarks/gate.py --cells 4-sliding     the cells whose names begin so; `pairs` and `raw` are cells too
    python benchmarks/gate.py --raw 120             a run of 120 s at a period of 60 s, and its share of the raw limit
    python benchmarks/gate.py --results FILE        keep results as JSON lines; what is in the file is not measured again

Everything runs on this machine: an embedded PostgreSQL, a fake service in a process of its own, the workers. `use` is of what is
attainable by the gate's formulas (`helix.gate_slot`), in a period of 3 s; `of limit` is of the raw limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.storage.schema import ensure_schema
from helix_pipelines_tests.recovery.gate_cells import THREADS, Cell, matrix, run_cell
from helix_pipelines_tests.recovery.gate_fleet import Fleet, failures, fleet
from helix_pipelines_tests.recovery.gate_worker import Task

PAIR_SECONDS = 8.0
PAIRS: dict[str, tuple[int, float]] = {"pairs-1": (1, 0.0), "pairs-4": (4, 0.0), "pairs-4-paced": (4, 0.008)}
"""Processes, and seconds between two pairs of each: 0 is as fast as they can, 0.008 at random is 500 a second of four."""
RAW_LIMIT = 3000
"""Requests a minute of the long run."""
Result = dict[str, Any]


def measure_pairs(processes: int, pace: float, workers: Fleet, database: str, seed: int) -> Result:
    """Acquire and release without limits and without requests: pairs a second, and seconds of a pair."""
    tasks = [
        Task(
            kind="pairs",
            database=database,
            service="http://127.0.0.1:1/v1",
            limits=GateLimits(max_concurrency=100),
            name=f"pairs {processes} {pace} {seed}",
            threads=1,
            seed=1000 * seed + worker,
            seconds=PAIR_SECONDS,
            pace=pace,
        )
        for worker in range(processes)
    ]
    reports = workers.run(tasks)
    broken = failures(reports)
    if broken:
        raise RuntimeError(broken[0])
    seconds = sorted(second for report in reports for second in report.pairs)
    return {
        "pairs_a_second": len(seconds) / PAIR_SECONDS,
        "p50_ms": 1000 * seconds[len(seconds) // 2],
        "p99_ms": 1000 * seconds[len(seconds) * 99 // 100],
    }


def measure_cell(cell: Cell, workers: Fleet, database: str, seed: int) -> Result:
    """A cell's figures."""
    result: Result = msgspec.to_builtins(run_cell(cell, workers, database, seed))
    return result


def plan(arguments: argparse.Namespace, workers: Fleet, database: str) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Everything that was asked for, by name."""
    for name, (processes, pace) in PAIRS.items():
        yield name, partial(measure_pairs, processes, pace, workers, database, arguments.seed)
    cells = list(matrix())
    if arguments.raw:
        cells.append(Cell(4, "sliding", "requests", period=60, periods=arguments.raw / 60, requests_limit=RAW_LIMIT))
    for cell in cells:
        name = "raw" if cell.period == 60 else cell.name
        yield name, partial(measure_cell, cell, workers, database, arguments.seed)


def show(name: str, result: Result) -> None:
    """Print a line."""
    if "p50_ms" in result:
        print(f"{name:<24} {result['pairs_a_second']:6.0f} pairs/s  p50 {result['p50_ms']:5.2f} ms  "
              f"p99 {result['p99_ms']:6.2f} ms{'':>26} load {result['load']:4.1f}", flush=True)  # fmt: skip
        return
    peaks = [
        f"{result[f'peak_{kind}']}/{result[f'limit_{kind}']}"
        for kind in ("requests", "tokens")
        if result[f"limit_{kind}"]
    ]
    print(f"{name:<24} {result['requests']:5} requests  {result['limited']:2} x 429  peak {' '.join(peaks):<21} "
          f"use {result['use']:5.3f}  of limit {result['use_of_limit']:5.3f}  "
          f"load {result['load']:4.1f}", flush=True)  # fmt: skip


def finished(path: Path | None) -> dict[tuple[str, int], Result]:
    """Results that are in the file already, by name and seed."""
    if path is None or not path.exists():
        return {}
    lines = map(orjson.loads, path.read_bytes().splitlines())
    return {(line["name"], line["seed"]): line for line in lines}


def main() -> None:
    """Measure what is not yet measured, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cells", action="append", metavar="PREFIX", help="only those whose names begin so; repeatable"
    )
    parser.add_argument("--raw", type=float, metavar="SECONDS", default=0.0, help="add a run at the period of 60 s")
    parser.add_argument("--seed", type=int, default=0, help="of the requests' sizes")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines to resume from")
    arguments = parser.parse_args()
    known = finished(arguments.results)
    prefixes = tuple(arguments.cells or [""])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder, fleet(max(THREADS)) as workers:
        server = EmbeddedPostgres(Path(folder))
        try:
            database = server.start()
            ensure_schema(database)
            for name, measure in plan(arguments, workers, database):
                if not name.startswith(prefixes):
                    continue
                result = known.get((name, arguments.seed))
                if result is None:
                    result = measure() | {"name": name, "seed": arguments.seed, "load": os.getloadavg()[0]}
                    if arguments.results:
                        with arguments.results.open("ab") as file:
                            file.write(orjson.dumps(result) + b"\n")
                show(name, result)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
