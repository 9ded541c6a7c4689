"""What is to be done after a crash, decided from facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from helix_pipelines.storage.holders import Holder, Verdict
from helix_pipelines.storage.recovery_plan import Remedy, RunFacts, RunStage, Situation, plan, plan_partitions
from helix_pipelines.storage.stranded import StrandedBatch

KEY = "20300101-000000-faq-00000000"
GONE = msgspec.structs.replace(Holder.here(), started=1)
ELSEWHERE = msgspec.structs.replace(Holder.here(), host="another")


def batch(state: str = "running", *, stop: str | None = None, holder: Holder | None = GONE, lapsed: float = 5) -> Any:
    """A stranded batch, which run `own` has or had."""
    return StrandedBatch(KEY, state, "own", stop, msgspec.to_builtins(holder), lapsed)


def run(run_id: str, stage: RunStage, verdict: Verdict = Verdict.UNKNOWN, ended: float | None = None) -> RunFacts:
    return RunFacts(run_id, KEY, stage, verdict, "it was killed", ended)


def remedies(batches: list[StrandedBatch], runs: list[RunFacts], *owner: str) -> list[tuple[Remedy, str | None]]:
    """What is planned: remedy and run, with the state and run of the batch given as `owner`."""
    owners = {KEY: (owner[0], owner[1])} if owner else {}
    return [(finding.remedy, finding.run_id) for finding in plan(Situation(batches, runs, owners))]


def test_a_running_batch_whose_process_is_gone_is_left_to_dagsters_retry() -> None:
    dead = run("own", RunStage.WORKING, Verdict.GONE)
    assert remedies([batch()], [dead], "running", "own") == [(Remedy.RETRY_RUN, "own")]


@pytest.mark.parametrize("verdict", [Verdict.ALIVE, Verdict.UNKNOWN])
def test_a_run_that_is_not_known_to_be_dead_is_left_alone(verdict: Verdict) -> None:
    assert remedies([batch()], [run("own", RunStage.WORKING, verdict)], "running", "own") == []


def test_a_batch_waits_for_the_retry_of_its_run() -> None:
    failed = run("own", RunStage.FAILED, ended=500)
    assert remedies([batch()], [failed, run("retry", RunStage.WAITING)], "running", "own") == []


@pytest.mark.parametrize(("ended", "expected"), [(10, []), (40, [(Remedy.SETTLE_BATCH, "own")])])
def test_a_batch_whose_failed_run_has_no_retry_in_time_is_settled(ended: float, expected: object) -> None:
    assert remedies([batch()], [run("own", RunStage.FAILED, ended=ended)], "running", "own") == expected


@pytest.mark.parametrize("stage", [RunStage.SUCCEEDED, RunStage.STOPPED])
def test_a_batch_whose_run_ended_without_a_word_is_stopped(stage: RunStage) -> None:
    assert remedies([batch()], [run("own", stage, ended=40)], "running", "own") == [(Remedy.STOP_BATCH, "own")]


def test_a_dead_retry_that_never_had_the_batch_is_failed_and_then_the_batch_is_settled() -> None:
    failed = run("own", RunStage.FAILED, ended=500)
    dead = run("retry", RunStage.WORKING, Verdict.GONE)
    assert remedies([batch()], [failed, dead], "running", "own") == [(Remedy.FAIL_RUN, "retry")]
    settled = remedies([batch()], [failed, run("retry", RunStage.FAILED, ended=40)], "running", "own")
    assert settled == [(Remedy.SETTLE_BATCH, "own")]


@pytest.mark.parametrize(
    ("holder", "lapsed", "expected"),
    [
        (GONE, 1, [(Remedy.SETTLE_BATCH, "own")]),
        (Holder.here(), 1000, []),
        (ELSEWHERE, 30, []),
        (ELSEWHERE, 61, [(Remedy.SETTLE_BATCH, "own")]),
        (None, 30, []),
        (None, 61, [(Remedy.SETTLE_BATCH, "own")]),
    ],
)
def test_a_batch_whose_run_dagster_does_not_know_is_settled_once_its_holder_is_gone(
    holder: Holder | None, lapsed: float, expected: object
) -> None:
    assert remedies([batch(holder=holder, lapsed=lapsed)], []) == expected


def test_a_launch_without_a_run_is_queued_again() -> None:
    assert remedies([batch("launched")], []) == [(Remedy.REQUEUE_BATCH, "own")]
    assert remedies([batch("launched")], [run("new", RunStage.WAITING)], "launched", "own") == []
    assert remedies([batch("launched")], [run("own", RunStage.FAILED, ended=10)], "launched", "own") == []


def test_a_launch_whose_run_died_before_it_began_is_retried_by_dagster() -> None:
    dead = run("new", RunStage.WORKING, Verdict.GONE)
    assert remedies([batch("launched")], [dead], "launched", "own") == [(Remedy.RETRY_RUN, "new")]


def test_a_stop_that_a_person_asked_for_is_done_where_the_process_is_gone() -> None:
    dead = run("own", RunStage.WORKING, Verdict.GONE)
    expected = [(Remedy.STOP_BATCH, "own"), (Remedy.STOP_RUN, "own")]
    assert remedies([batch(stop="cancel")], [dead], "running", "own") == expected
    assert remedies([batch("launched", stop="pause")], []) == [(Remedy.STOP_BATCH, "own")]


def test_a_run_that_was_terminated_before_its_process_died_pauses_its_batch() -> None:
    dead = run("own", RunStage.STOPPING, Verdict.GONE)
    assert remedies([batch()], [dead], "running", "own") == [(Remedy.STOP_BATCH, "own"), (Remedy.STOP_RUN, "own")]


@pytest.mark.parametrize("owner", [("running", "other"), ("done", "own"), ("paused", "own"), ("queued", "own")])
def test_a_dead_run_without_a_say_in_its_batch_is_failed_for_good(owner: tuple[str, str]) -> None:
    assert remedies([], [run("own", RunStage.WORKING, Verdict.GONE)], *owner) == [(Remedy.FAIL_RUN, "own")]


def test_a_dead_run_is_failed_for_good_where_another_one_has_begun() -> None:
    runs = [run("own", RunStage.WORKING, Verdict.GONE), run("retry", RunStage.WORKING, Verdict.ALIVE)]
    assert remedies([batch()], runs, "running", "own") == [(Remedy.FAIL_RUN, "own")]


def test_a_dead_run_without_a_batch_is_retried() -> None:
    dead = RunFacts("verification", None, RunStage.WORKING, Verdict.GONE)
    assert remedies([], [dead]) == [(Remedy.RETRY_RUN, "verification")]


def test_partitions_follow_the_batches_but_for_those_with_a_run() -> None:
    findings = plan_partitions(["old", "busy", "here"], ["here", "new"], frozenset({"busy"}))
    assert [(finding.remedy, finding.batch) for finding in findings] == [
        (Remedy.ADD_PARTITION, "new"),
        (Remedy.REMOVE_PARTITION, "old"),
    ]
