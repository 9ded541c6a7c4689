"""What reading goes on at 90 % of a large CSV file costs, beside reading it whole, in one run.

    python benchmarks/resuming.py                      a million rows
    python benchmarks/resuming.py --rows 100000

The file is parsed once in one go. A second one like it is paused by a person's word when 90 % of its rows are stored, and its
phase is begun again. The promise is that the second part takes at most 15 % of the whole.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import threading
import time
from pathlib import Path

from helix_pipelines.ingestion.intake import take_in
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.staging import parse_batch
from helix_pipelines.resilience.errors import BatchStoppedError
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.queue_verbs import resume
from helix_pipelines.storage.schema import ensure_schema
from helix_pipelines_tests.databases import ThrowawayPostgres
from helix_pipelines_tests.stages import Stages

SHARE = 0.9
LOOK = 0.02


def write(path: Path, rows: int, word: str) -> Path:
    """A file of different questions and answers of 150 characters together, as support desks have them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows(
            [
                f"How do I set up {word} number {row} on a second machine?",
                f"Open the settings of machine {row % 977}, choose {word} and follow the {row % 13} steps of page {row}.",
            ]
            for row in range(rows)
        )
    return path


def take_whole(stages: Stages, path: Path) -> str:
    """Everything before the parsing; returns the batch's key."""
    key = stages.begin(path)
    with phase(stages.database, key, "intake", "source_files") as batch:
        take_in(stages.database, batch, stages.store, ParseLimits())
    return key


def parse(stages: Stages, key: str, run: str) -> tuple[float, int]:
    """Seconds of the phase, to its end or until it is stopped, and rows stored so far."""
    began = time.perf_counter()
    try:
        with phase(stages.database, key, run, "parsed_rows") as batch:
            parse_batch(stages.database, batch, stages.store, ParseLimits())
    except BatchStoppedError:
        pass
    return time.perf_counter() - began, stages.import_of(key)["rows_read"]


def pause_at(stages: Stages, key: str, rows: int) -> None:
    """Ask for a pause once so many rows are stored."""
    while stages.import_of(key)["rows_read"] < rows:
        time.sleep(LOOK)
    stages.query("UPDATE helix.import_batch SET stop_requested = 'pause' WHERE partition_key = %s RETURNING 1", [key])


def measure(stages: Stages, rows: int) -> None:
    """Both ways, one after the other; prints as it goes."""
    whole, read = parse(stages, take_whole(stages, write(stages.folder / "whole.csv", rows, "a printer")), "whole")
    assert read == rows
    print(f"whole: {read:,} rows in {whole:.1f} s", flush=True)
    key = take_whole(stages, write(stages.folder / "paused.csv", rows, "a scanner"))
    pausing = threading.Thread(target=pause_at, args=(stages, key, int(rows * SHARE)))
    pausing.start()
    seconds, stored = parse(stages, key, "paused")
    pausing.join()
    print(f"paused: {stored:,} rows in {seconds:.1f} s", flush=True)
    with stages.database.transaction() as connection:
        resume(connection, key)
    rest, read = parse(stages, key, "resumed")
    assert read == rows
    print(f"resumed: {read - stored:,} rows in {rest:.1f} s, {rest / whole:.1%} of the whole")


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="helix-resuming-") as folder:
        server = ThrowawayPostgres(Path(folder))
        try:
            database = server.start()
            ensure_schema(database)
            stages = Stages(database, Path(folder), "http://127.0.0.1:9/v1")
            measure(stages, rows)
            stages.database.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
