"""`helix queue pause` while a batch is in each phase, and an embedding service that is away for long, under a running service."""

from __future__ import annotations

import time

import pytest

from helix_pipelines_tests.recovery.live_service import LiveService
from helix_pipelines_tests.system.dagster_pages import until
from helix_pipelines_tests.system.stopped_batches import (
    CHUNK_ROWS,
    EMBEDDED_ROWS,
    FIRST_ROWS,
    PHASES,
    Batches,
    StoppedBatch,
    command,
)

pytestmark = pytest.mark.timeout(1200)

PAUSED = [
    pytest.param(("parsed_rows", "embeddings"), marks=pytest.mark.system, id="two"),
    pytest.param(PHASES, marks=pytest.mark.campaign, id="every"),
]
"""Phases to be paused in."""
READ = {
    "source_files": 0,
    "parsed_rows": FIRST_ROWS + CHUNK_ROWS + FIRST_ROWS,
    "qa_pairs": 2 * FIRST_ROWS,
    "embeddings": FIRST_ROWS + EMBEDDED_ROWS,
    "knowledge_base": 2 * FIRST_ROWS,
}
"""Rows that have been read when a batch is paused in a phase; the chunk at which the request is heard is committed."""


@pytest.mark.parametrize("phases", PAUSED)
def test_a_batch_is_paused_in_a_phase_and_resumed_from_where_it_was(
    phases: tuple[str, ...], live: LiveService, batches: Batches
) -> None:
    # The last phase has one transaction: once that has begun, the batch is as good as done.
    paused = batches.stopped_in_each(phases, "paused", at_the_start=["knowledge_base"])
    for phase, batch in paused.items():
        said = command(live, "queue", "pause", batch.key)
        assert (said["batch"], said["state"], said["stop_requested"]) == (batch.key, "running", "pause")
        if phase == "knowledge_base":
            _wait_for_heartbeat(live, batch)
        batches.let_go(batch)
    live.fake.end_outage()
    staged = {}
    for phase, batch in paused.items():
        until(lambda batch=batch: batch.state(live) == "paused", f"{batch.key} is paused")  # type: ignore[misc]
        status = command(live, "status", batch.key)
        assert status["state"] == "paused"
        assert sum(file["rows_read"] for file in status["imports"]) == READ[phase]
        assert PHASES.index(phase) == len(batch.phases_done(live)), "the phase is not done, those before it are"
        staged[phase] = batch.staged(live)
    embedded = sum(file["embedded"] for file in command(live, "status", paused["embeddings"].key)["imports"])
    assert 0 < embedded < READ["embeddings"]

    for batch in paused.values():
        assert command(live, "queue", "resume", batch.key)["state"] in {"queued", "launched"}
    for phase, batch in paused.items():
        until(lambda batch=batch: batch.state(live) == "done", f"{batch.key} is done")  # type: ignore[misc]
        assert batch.contradictions(live) == []
        assert staged[phase] <= batch.staged(live), "rows that had been read were not read again"
    counters = live.fake.counters()
    assert (counters.texts, counters.texts_seen_twice) == (sum(len(batch.rows) for batch in paused.values()), 0)


@pytest.mark.system
def test_an_outage_that_outlasts_every_patience_parks_nothing(live: LiveService, batches: Batches) -> None:
    live.fake.outage("503")
    began = time.monotonic()
    batch = batches.free("outage")
    until(lambda: len(_deferrals(live, batch)) > 1, f"{batch.key} was deferred and tried again")
    assert time.monotonic() - began > 3 * live.settings.outage_patience
    live.fake.end_outage()

    until(lambda: batch.state(live) == "done", f"{batch.key} is done")
    assert batch.contradictions(live) == []
    record = batch.record(live)
    assert (record["error"], record["fruitless"]) == (None, 0), "waiting is no failed attempt"
    assert live.query("SELECT 1 FROM helix.event WHERE batch_id = %s AND kind = 'error.occurred'", [batch.id]) == []
    counters = live.fake.counters()
    assert (counters.texts, counters.texts_seen_twice) == (len(batch.rows), 0)


def _wait_for_heartbeat(live: LiveService, batch: StoppedBatch) -> None:
    """The run hears of what was asked for when it renews its lease."""
    asked = batch.record(live)["lease_expires_at"]
    until(lambda: batch.record(live)["lease_expires_at"] > asked, f"the run of {batch.key} has renewed its lease")


def _deferrals(live: LiveService, batch: StoppedBatch) -> list[dict[str, object]]:
    return live.query("SELECT id FROM helix.phase_run WHERE batch_id = %s AND state = 'deferred'", [batch.id])
