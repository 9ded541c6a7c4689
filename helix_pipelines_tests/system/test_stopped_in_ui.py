"""Batches that fail or are terminated in each phase, and go on at a click in Dagster's UI, from where they were."""

from __future__ import annotations

import time

import pytest

from helix_pipelines_tests.recovery.live_service import LiveService
from helix_pipelines_tests.system.dagster_pages import DagsterPages, until
from helix_pipelines_tests.system.hurdles import FAILURE
from helix_pipelines_tests.system.stopped_batches import PHASES, Batches, StoppedBatch, batch_name

pytestmark = pytest.mark.timeout(1200)

REFUSED_KEY = ("EMBEDDING_UNAUTHORIZED", "HELIX_EMBEDDING_API_KEY")
"""What the page of a run says whose key the embedding service refused."""
FAILED = [
    pytest.param(("qa_pairs", "embeddings", "knowledge_base"), marks=pytest.mark.system, id="three"),
    pytest.param(PHASES, marks=pytest.mark.campaign, id="every"),
]
"""Phases to fail in."""
TERMINATED = [
    pytest.param(("source_files", "parsed_rows"), marks=pytest.mark.system, id="two"),
    pytest.param(PHASES, marks=pytest.mark.campaign, id="every"),
]
"""Phases to be terminated in: in CI those in which nothing fails."""
SENSORS = ("batch_queue_sensor", "retry_sensor", "recovery_sensor")
"""What might continue a batch by itself."""


@pytest.mark.parametrize("phases", FAILED)
def test_a_batch_that_failed_is_executed_again_from_the_phase_in_which_it_failed(
    phases: tuple[str, ...], live: LiveService, pages: DagsterPages, batches: Batches
) -> None:
    failing = {phase: batches.failing(batch_name("failing", phase), phase) for phase in phases if phase != "embeddings"}
    _wait_for_state(live, failing, "error")
    if "embeddings" in phases:  # by a key that is refused: last, as the service refuses everybody
        live.fake.set_faults(status=401)
        failing["embeddings"] = batches.free(batch_name("failing", "embeddings"))
        _wait_for_state(live, failing, "error")
        live.fake.set_faults(status=None)
    staged = {phase: batch.staged(live) for phase, batch in failing.items()}

    for phase, batch in failing.items():
        [run] = pages.runs(batch.key)
        told = REFUSED_KEY if phase == "embeddings" else (FAILURE,)
        pages.look_at(f"runs/{run['runId']}", "Failure", "Errored (1)", *told, f"helix queue retry {batch.key}")
        pages.screenshot(f"failed-in-{phase}")
        batches.let_go(batch)
        pages.re_execute_from_failure(run["runId"])

    for phase, batch in failing.items():
        _wait_for_success(pages, batch)
        steps = {step["stepKey"] for step in pages.runs(batch.key)[0]["stepStats"]}
        assert steps & set(PHASES) == set(PHASES[PHASES.index(phase) :])
        assert batch.contradictions(live) == []
        assert staged[phase] <= batch.staged(live), "rows that had been read were not read again"
    _assert_nothing_was_sent_twice(live, failing)


@pytest.mark.parametrize("phases", TERMINATED)
def test_a_batch_whose_run_was_terminated_stays_paused_until_a_person_lets_it_go_on(
    phases: tuple[str, ...], live: LiveService, pages: DagsterPages, batches: Batches
) -> None:
    stopped = batches.stopped_in_each(phases, "terminated")
    for batch in stopped.values():
        run = batch.record(live)["run_id"]
        pages.terminate(run)
        batches.let_go(batch)
        until(lambda run=run: pages.run_status(run) == "CANCELED", f"run {run} has ended")  # type: ignore[misc]
    _wait_for_state(live, stopped, "paused")
    live.fake.end_outage()
    paused = time.time()
    for sensor in SENSORS:
        until(lambda name=sensor: pages.has_ticked(name, paused, times=2), f"{sensor} has looked twice")  # type: ignore[misc]
    staged = {phase: batch.staged(live) for phase, batch in stopped.items()}
    for phase, batch in stopped.items():
        assert (batch.state(live), len(pages.runs(batch.key))) == ("paused", 1)
        pages.look_at(f"runs/{batch.record(live)['run_id']}", "Canceled", f"helix queue resume {batch.key}")
        pages.screenshot(f"terminated-in-{phase}")

    for turn, batch in enumerate(stopped.values()):
        if turn % 2:
            pages.launch("queue_resume_job", f"ops: {{resume: {{config: {{batch: {batch.key}}}}}}}")
        else:
            pages.materialize(batch.key)
    for phase, batch in stopped.items():
        _wait_for_success(pages, batch)
        assert batch.contradictions(live) == []
        assert staged[phase] <= batch.staged(live), "rows that had been read were not read again"
    _assert_nothing_was_sent_twice(live, stopped)


def _wait_for_state(live: LiveService, stopped: dict[str, StoppedBatch], state: str) -> None:
    for batch in stopped.values():
        until(lambda batch=batch: batch.state(live) == state, f"{batch.key} is {state}")  # type: ignore[misc]


def _wait_for_success(pages: DagsterPages, batch: StoppedBatch) -> None:
    def succeeded() -> bool:
        runs = pages.runs(batch.key)
        return len(runs) == 2 and runs[0]["status"] == "SUCCESS"

    until(succeeded, f"the second run of {batch.key} succeeds")


def _assert_nothing_was_sent_twice(live: LiveService, stopped: dict[str, StoppedBatch]) -> None:
    counters = live.fake.counters()
    texts = sum(len(batch.rows) for batch in stopped.values())
    assert (counters.texts, counters.texts_seen_twice) == (texts, 0)
