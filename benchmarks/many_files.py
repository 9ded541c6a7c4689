"""Very many small files dropped into the inbox of a running service at once: batches, seconds until all is searchable, and how
long Dagster's UI takes to answer meanwhile.

    python benchmarks/many_files.py                    500 files of 10 rows
    python benchmarks/many_files.py --files 10000      one of which is no text at all, and has to be rejected alone

The service is a whole `helix up` in a folder of its own, with the settings that it has by default, against a fake embedding
service on the loopback (20 ms a request and 0.2 ms a text, 384 dimensions). Promised on two processors: 500 files in at most 5
batches and 90 s, 10,000 in 600 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery.live_service import LiveService, live_service

ROWS = 10
DIMENSIONS = 384
BEHAVIOUR = {"dimensions": DIMENSIONS, "latency": 0.02, "per_text": 0.0002}
SETTINGS = {"HELIX_EMBEDDING_DIMENSIONS": str(DIMENSIONS)}
PATIENCE = 1800.0
LOOK = 0.5
QUERY = "{ runsOrError(limit: 20) { ... on Runs { results { runId status stats { __typename } } } } }"


class Pages(threading.Thread):
    """Asks Dagster's webserver for the list of runs twice a second, as a person's open page does."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self._url = url
        self._over = threading.Event()

    def run(self) -> None:
        """Ask until `end` is called."""
        with httpx.Client(timeout=60.0) as client:
            while not self._over.wait(LOOK):
                began = time.perf_counter()
                client.post(self._url, json={"query": QUERY}).raise_for_status()
                self.seconds.append(time.perf_counter() - began)

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self.join()


def write_files(inbox: Path, number: int) -> list[str]:
    """Files of ten rows of their own; the one in the middle is binary rubbish. All lie beside the inbox until they are moved."""
    folder = inbox / "many"
    draft = inbox.parent / "many"
    draft.mkdir()
    names = [f"file_{at:05}.csv" for at in range(number)]
    for at, name in enumerate(names):
        rows = (f'"How is part {row} of device {at} mended?","With tool {at % 97}, step {row}."' for row in range(ROWS))
        draft.joinpath(name).write_text("\n".join(["question,answer", *rows]) + "\n", encoding="utf-8")
    draft.joinpath(names[number // 2]).write_bytes(bytes(range(256)) * 8)
    draft.rename(folder)
    return [f"many/{name}" for name in names]


def wait_until_done(service: LiveService, number: int) -> float:
    """Until every file's import has ended; gives the moment. Tells how far it is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        [now] = service.query(
            "SELECT count(*) FILTER (WHERE j.finished_at IS NOT NULL) AS ended, count(DISTINCT j.batch_id) AS batches,"
            " count(DISTINCT j.batch_id) FILTER (WHERE b.state <> 'done') AS open"
            " FROM helix.import_job j JOIN helix.import_batch b ON b.id = j.batch_id"
        )
        sys.stderr.write(f"\r{now['ended']:,} of {number:,} files, {now['batches']} batches ")
        if now["ended"] == number and now["open"] == 0:
            sys.stderr.write("\n")
            return time.monotonic()
        time.sleep(LOOK)
    raise SystemExit(f"not done after {PATIENCE:.0f} s: {service.log('dagster-daemon')}")


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    number = parser.parse_args().files
    with (
        tempfile.TemporaryDirectory(prefix="helix-many-") as folder,
        running_fake_process(BEHAVIOUR) as fake,
        live_service(Path(folder) / "home", fake, SETTINGS, database_folder=Path(folder) / "database") as service,
    ):
        pages = Pages(f"{service.state().ui}/graphql")
        pages.start()
        write_files(service.settings.inbox_dir, number)
        dropped = time.monotonic()
        ended = wait_until_done(service, number)
        pages.end()
        states = service.query("SELECT state, count(*) AS files FROM helix.import_job GROUP BY state ORDER BY state")
        [served] = service.query("SELECT count(*) AS pairs FROM helix.knowledge_base")
        [batches] = service.query("SELECT count(*) AS number FROM helix.import_batch")
        requests = fake.counters().requests
    told = ", ".join(f"{line['files']:,} {line['state']}" for line in states)
    waits = sorted(pages.seconds)
    print(f"{number:,} files: {told}; {served['pairs']:,} pairs served; {requests:,} requests")
    print(f"{batches['number']} batches, {ended - dropped:.1f} s from the drop until all were done")
    print(
        f"Dagster's UI, {len(waits)} questions: median {statistics.median(waits):.2f} s,"
        f" 95 % within {waits[int(len(waits) * 0.95)]:.2f} s, longest {waits[-1]:.2f} s"
    )


if __name__ == "__main__":
    main()
