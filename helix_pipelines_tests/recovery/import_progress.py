"""How far the batches of a service are, as the database has it: whatever is counted here was committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from helix_pipelines.serving.verify import verify
from helix_pipelines_tests.recovery.dropped_files import Drop, DroppedFiles
from helix_pipelines_tests.recovery.live_service import LiveService

STARTING = "starting"
"""The phase of a batch that was launched and has no lease yet."""
BETWEEN = "between phases"
OPEN_STATES = ("queued", "launched", "running", "deferred")
OUTCOMES = ("inserted", "updated", "unchanged", "duplicate", "quarantined")
BATCHES = """
SELECT b.partition_key AS key, b.state, b.holder, b.run_id,
       (SELECT p.phase FROM helix.phase_run p
        WHERE p.batch_id = b.id AND p.run_id = b.run_id AND p.state = 'running' ORDER BY p.id DESC LIMIT 1) AS phase,
       (SELECT count(*) FROM helix.phase_run p WHERE p.batch_id = b.id AND p.state = 'done')
       + (SELECT coalesce(sum(j.rows_read + j.inserted + j.updated + j.unchanged + j.duplicate), 0)
          FROM helix.import_job j WHERE j.batch_id = b.id)
       + (SELECT coalesce(sum(u.texts), 0)
          FROM helix.api_usage u JOIN helix.import_job j ON j.id = u.import_job_id WHERE j.batch_id = b.id) AS progress
FROM helix.import_batch b
WHERE b.id > %s
ORDER BY b.id
"""
IMPORTS = """
SELECT j.state, j.rows_read, j.pending, j.inserted, j.updated, j.unchanged, j.duplicate, j.quarantined
FROM helix.import_job j JOIN helix.source s ON s.id = j.source_id
WHERE s.name = %s ORDER BY j.arrival DESC LIMIT 1
"""


@dataclass(frozen=True)
class BatchNow:
    """A batch at a moment. `progress` only ever grows: rows read and decided, texts paid for, phases ended."""

    key: str
    state: str
    holder: Any
    phase: str | None
    progress: int

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


def batches(service: LiveService, after: int = 0) -> list[BatchNow]:
    """The batches with a higher id than `after`, oldest first."""
    found = []
    for row in service.query(BATCHES, [after]):
        unleased = STARTING if row["state"] == "launched" else BETWEEN if row["state"] == "running" else None
        phase = row["phase"] if row["state"] == "running" and row["phase"] else unleased
        found.append(BatchNow(row["key"], row["state"], row["holder"], phase, int(row["progress"])))
    return found


def latest_batch(service: LiveService) -> int:
    """The highest id of a batch, 0 where there is none."""
    return int(service.query("SELECT coalesce(max(id), 0) AS id FROM helix.import_batch")[0]["id"])


def is_taken(service: LiveService, drop: Drop) -> bool:
    """Whether the file that lies in the inbox now has become an import."""
    status = (service.settings.inbox_dir / drop.path).stat()
    found = service.query(
        "SELECT 1 FROM helix.inbox_file"
        " WHERE path = %s AND bytes = %s AND modified_ns = %s AND import_job_id IS NOT NULL",
        [drop.path, status.st_size, status.st_mtime_ns],
    )
    return bool(found)


def contradictions(service: LiveService, files: DroppedFiles, drops: list[Drop]) -> list[str]:
    """What of the result is not as it has to be: states, counters of imports, rows served, `helix verify`, texts paid for."""
    found = [f"{batch.key} is {batch.state}" for batch in batches(service) if batch.state != "done"]
    for drop in drops:
        [reported] = service.query(IMPORTS, [drop.path])
        expected = {"rows_read": len(drop.rows), "pending": 0, **dict.fromkeys(OUTCOMES, 0), **drop.outcomes}
        differing = {name: (reported[name], count) for name, count in expected.items() if reported[name] != count}
        if differing or not reported["state"].startswith("completed"):
            found.append(f"{drop.path} is {reported['state']}; reported and expected: {differing}")
    rows = service.query("SELECT collection, question, answer FROM helix.knowledge_base")
    served = {(row["collection"], row["question"], row["answer"]) for row in rows}
    for name, wrong in (("lost", files.served - served), ("foreign", served - files.served)):
        if wrong:
            found.append(f"{len(wrong)} pairs are {name}, such as {min(wrong)}")
    if len(rows) != len(served):
        found.append(f"{len(rows) - len(served)} pairs are served twice")
    with psycopg.connect(service.url, autocommit=True) as connection:
        found += [finding.detail for finding in verify(connection) if not finding.ok]
    counters = service.fake.counters()
    if counters.texts - counters.texts_seen_twice != files.texts():
        found.append(f"{counters.texts - counters.texts_seen_twice} texts were embedded, not {files.texts()}")
    return found
