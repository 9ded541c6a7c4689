"""Batches that a test stops somewhere: what they were made of, where they are, and what has to be served in the end."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines_tests.recovery.live_service import HELIX, LiveService
from helix_pipelines_tests.system.dagster_pages import until
from helix_pipelines_tests.system.hurdles import AT_THE_START, Hurdles

PHASES = ("source_files", "parsed_rows", "qa_pairs", "embeddings", "knowledge_base")
FIRST_ROWS = 20
"""Of a batch's first file, which is through a phase before the phase is stopped."""
CHUNK_ROWS = 5_000
"""Rows of a CSV file that are committed together."""
EMBEDDED_ROWS = 800
"""Rows whose texts take several requests, one after another."""
ANSWER_SECONDS = 1.0
"""Of each of those requests."""

Row = tuple[str, str]


@dataclass(frozen=True)
class StoppedBatch:
    """A batch of two files in a collection of its own; `rows` are those of both."""

    id: int
    key: str
    collection: str
    rows: frozenset[Row]

    def record(self, service: LiveService) -> dict[str, Any]:
        """The batch's line in the database."""
        return service.query("SELECT * FROM helix.import_batch WHERE id = %s", [self.id])[0]

    def state(self, service: LiveService) -> str:
        return str(self.record(service)["state"])

    def phases_done(self, service: LiveService) -> list[str]:
        """The phases that a run has ended in success, in order; one that was done twice is there twice."""
        return [
            row["phase"]
            for row in service.query(
                "SELECT phase FROM helix.phase_run WHERE batch_id = %s AND state = 'done' ORDER BY id", [self.id]
            )
        ]

    def staged(self, service: LiveService) -> frozenset[tuple[int, int, str]]:
        """Every row that was read, with the transaction that wrote it: a row that is read again would have another one."""
        rows = service.query(
            "SELECT c.import_job_id, c.ordinal, c.xmin::text AS written_by FROM helix.row_content c"
            " JOIN helix.import_job j ON j.id = c.import_job_id WHERE j.batch_id = %s",
            [self.id],
        )
        return frozenset((row["import_job_id"], row["ordinal"], row["written_by"]) for row in rows)

    def contradictions(self, service: LiveService) -> list[str]:
        """What of the result is not as it has to be: state, counters, rows served."""
        found = [] if self.state(service) == "done" else [f"{self.key} is {self.state(service)}"]
        [counted] = service.query(
            "SELECT sum(rows_read) AS rows_read, sum(inserted) AS inserted, sum(pending) AS pending"
            " FROM helix.import_job WHERE batch_id = %s",
            [self.id],
        )
        if counted != {"rows_read": len(self.rows), "inserted": len(self.rows), "pending": 0}:
            found.append(f"{self.key} counts {counted}, not {len(self.rows)} rows")
        served = [
            (row["question"], row["answer"])
            for row in service.query(
                "SELECT question, answer FROM helix.knowledge_base WHERE collection = %s", [self.collection]
            )
        ]
        if len(served) != len(self.rows) or frozenset(served) != self.rows:
            found.append(f"{self.key} serves {len(served)} pairs, {len(self.rows - set(served))} are lost")
        return found


class Batches:
    """Makes batches for one service."""

    def __init__(self, service: LiveService, folder: Path, hurdles: Hurdles) -> None:
        self._service = service
        self._folder = folder
        self._hurdles = hurdles

    def held(self, name: str, phase: str, *, after: int = 0, rows: int = FIRST_ROWS) -> StoppedBatch:
        """A queued batch whose run will be held in a phase; its last file has so many rows."""
        return self._queued(name, rows, phase, after, fails=False)

    def failing(self, name: str, phase: str) -> StoppedBatch:
        """A queued batch whose run will fail in a phase."""
        return self._queued(name, FIRST_ROWS, phase, 0, fails=True)

    def free(self, name: str, rows: int = FIRST_ROWS) -> StoppedBatch:
        """A queued batch that nothing stops."""
        return self._queued(name, rows, None, 0, fails=False)

    def stopped_in_each(
        self, phases: Sequence[str], word: str, at_the_start: Sequence[str] = ()
    ) -> dict[str, StoppedBatch]:
        """A batch for each phase, whose run stands in the middle of it until `let_go`, with something of the phase done.

        Phases of `at_the_start` have only begun. In the embedding it is the service that does not answer any more, for all
        batches; so that batch is the last to come to where it stops, and the first given: it is deferred after a minute.
        """
        stopped = {}
        for phase in phases:
            name = batch_name(word, phase)
            if phase in at_the_start:
                stopped[phase] = self.held(name, AT_THE_START + phase)
            elif phase == "parsed_rows":
                stopped[phase] = self.held(name, phase, after=CHUNK_ROWS, rows=CHUNK_ROWS + FIRST_ROWS)
            elif phase != "embeddings":
                stopped[phase] = self.held(name, phase)
        for phase, batch in stopped.items():
            until(lambda batch=batch: self._hurdles.is_reached(batch.id), f"{batch.key} is in {phase}")  # type: ignore[misc]
        if "embeddings" in phases:
            stopped = {"embeddings": self._unanswered(batch_name(word, "embeddings")), **stopped}
        return stopped

    def let_go(self, batch: StoppedBatch) -> None:
        """Have nothing stop the batch any more."""
        self._hurdles.lift(batch.id)

    def _unanswered(self, name: str) -> StoppedBatch:
        fake = self._service.fake
        fake.set_faults(latency=ANSWER_SECONDS)
        batch = self.free(name, EMBEDDED_ROWS)
        until(lambda: batch.record(self._service)["counters"].get("embedded", 0) > 0, f"{name} is being embedded")
        fake.outage("hang")
        until(lambda: fake.counters().outages[-1].in_flight > 0, f"a request of {name} hangs")
        fake.set_faults(latency=0.0)
        return batch

    def _queued(self, name: str, rows: int, phase: str | None, after: int, *, fails: bool) -> StoppedBatch:
        contents = [_rows(f"{name} first", FIRST_ROWS), _rows(f"{name} last", rows)]
        files = [
            FileRequest(str(self._written(f"{name}-{number}.csv", content)), name, f"{name}-{number}")
            for number, content in enumerate(contents, 1)
        ]
        with psycopg.connect(self._service.url) as connection:
            key = create_batch(connection, name, files, BatchSettings())
            row = connection.execute("SELECT id FROM helix.import_batch WHERE partition_key = %s", [key]).fetchone()
            assert row is not None
            if phase is not None:
                place = self._hurdles.fail if fails else self._hurdles.hold
                place(connection, row[0], phase, after)
        return StoppedBatch(row[0], key, name, frozenset(row for content in contents for row in content))

    def _written(self, name: str, rows: Sequence[Row]) -> Path:
        path = self._folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        return path


def batch_name(word: str, phase: str) -> str:
    """The name of a batch, which is also that of its collection."""
    return f"{word}-{phase.replace('_', '-')}"


def command(service: LiveService, *arguments: str) -> Any:
    """The JSON that a `helix` command prints."""
    line = [HELIX, *arguments, "--json"]
    done = subprocess.run(line, env=service.environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def _rows(name: str, number: int) -> list[Row]:
    return [(f"What is {name} {at}?", f"It is {at} of {name}.") for at in range(number)]
