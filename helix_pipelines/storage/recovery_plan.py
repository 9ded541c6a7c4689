"""What is to be done about stranded batches, runs whose process is gone, and partitions that do not fit the batches.

Nothing here changes anything: `instance/recovery.py` gathers the facts from database and Dagster, and acts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from helix_pipelines.storage.holders import Verdict
from helix_pipelines.storage.states import BatchState
from helix_pipelines.storage.stranded import StrandedBatch

SETTLING_SECONDS = 30.0
"""After a run's end, in which its batch is told by the run-status sensors, or Dagster creates the retry (both look every 5 s)."""


class RunStage(StrEnum):
    """Where a Dagster run is, as far as it matters to its batch."""

    WAITING = "waiting"
    WORKING = "working"
    STOPPING = "stopping"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    STOPPED = "was stopped"

    @property
    def has_ended(self) -> bool:
        """Whether nothing will come of it any more."""
        return self in {RunStage.FAILED, RunStage.SUCCEEDED, RunStage.STOPPED}


class Remedy(StrEnum):
    """What is done about a finding."""

    RETRY_RUN = "retry_run"
    """Dagster is told that the run failed, and executes it again from the step that it was in."""
    FAIL_RUN = "fail_run"
    """The same, but nothing is executed again: the batch is another run's, or done."""
    STOP_RUN = "stop_run"
    """The run is shown as canceled: a person has stopped it, and its process died before it could say so."""
    SETTLE_BATCH = "settle_batch"
    """The batch is queued again or marked as failed, as after any failed run."""
    STOP_BATCH = "stop_batch"
    """The batch is paused, or cancelled where that was asked for."""
    REQUEUE_BATCH = "requeue_batch"
    ADD_PARTITION = "add_partition"
    REMOVE_PARTITION = "remove_partition"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A Dagster run. `verdict` and `reason` say whether its process lives; `ended` is the seconds since its end, None before."""

    run_id: str
    partition_key: str | None
    stage: RunStage
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    ended: float | None = None

    @property
    def is_dead(self) -> bool:
        """Whether Dagster shows it as under way although its process is gone."""
        return self.stage in {RunStage.WORKING, RunStage.STOPPING} and self.verdict is Verdict.GONE

    @property
    def is_to_come(self) -> bool:
        """Whether something may still come of it: it waits for its turn, or is not known to be dead."""
        return not self.stage.has_ended and not self.is_dead


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not take care of itself: what is to be done, and a sentence that tells a person why."""

    remedy: Remedy
    detail: str
    batch: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is to judge. `runs` are all that have not ended, and the latest ones of every stranded batch.

    `owners` gives state and run of the batch for the partition keys of runs.
    """

    batches: Sequence[StrandedBatch]
    runs: Sequence[RunFacts]
    owners: Mapping[str, tuple[str, str | None]]

    def runs_of(self, partition_key: str | None) -> list[RunFacts]:
        """The runs on a partition."""
        return [run for run in self.runs if run.partition_key == partition_key]


def plan(situation: Situation) -> list[Finding]:
    """What is to be done, batches first: a run is ended only after its batch has been told of a person's stop."""
    of_batches = [_plan_batch(batch, situation) for batch in situation.batches]
    of_runs = [_plan_run(run, situation) for run in situation.runs if run.is_dead]
    return [finding for finding in of_batches if finding is not None] + of_runs


def plan_partitions(partitions: Sequence[str], batches: Sequence[str], under_way: frozenset[str]) -> list[Finding]:
    """Partitions that batches lack, and partitions without a batch, which stay while a run of them is `under_way`."""
    known = frozenset(partitions)
    spare = sorted(known - frozenset(batches) - under_way)
    return [
        *(Finding(Remedy.ADD_PARTITION, "The batch has no partition.", key) for key in batches if key not in known),
        *(Finding(Remedy.REMOVE_PARTITION, "The partition has no batch, and no run.", key) for key in spare),
    ]


def _plan_batch(batch: StrandedBatch, situation: Situation) -> Finding | None:
    """What becomes of a batch that has no run any more. Where a run only has to be failed, Dagster's retry has the batch."""
    runs = situation.runs_of(batch.partition_key)
    own = next((run for run in runs if run.run_id == batch.run_id), None)
    dead = [run for run in runs if run.is_dead]
    is_stopped = batch.stop_requested is not None or any(run.stage is RunStage.STOPPING for run in dead)
    if any(run.is_to_come for run in runs) or (dead and not is_stopped):
        return None
    if not dead and any((run.ended or 0.0) < SETTLING_SECONDS for run in runs):
        return None
    if batch.is_running and own is None and batch.is_held:
        return None
    if is_stopped:
        remedy, detail = Remedy.STOP_BATCH, "A person has asked for it, and there is no process to do it."
    elif not batch.is_running:
        remedy, detail = Remedy.REQUEUE_BATCH, "It was launched, but no run of it is to come."
    elif own is None:
        remedy, detail = Remedy.SETTLE_BATCH, "Its process is gone, and Dagster does not know its run."
    elif own.stage is RunStage.FAILED:
        remedy, detail = Remedy.SETTLE_BATCH, "Its run failed, and no other run of it is to come."
    else:
        remedy, detail = Remedy.STOP_BATCH, f"Its run {own.stage} before its work was done."
    return Finding(remedy, detail, batch.partition_key, batch.run_id)


def _plan_run(run: RunFacts, situation: Situation) -> Finding:
    """What becomes of a run that Dagster shows as under way although its process is gone."""
    key = run.partition_key
    gone = f"Its process is gone: {run.reason}."
    stranded = next((batch for batch in situation.batches if batch.partition_key == key), None)
    if run.stage is RunStage.STOPPING or (stranded is not None and stranded.stop_requested is not None):
        return Finding(Remedy.STOP_RUN, f"{gone} A person has stopped it.", key, run.run_id)
    if key is None:
        return Finding(Remedy.RETRY_RUN, gone, key, run.run_id)
    if any(other.is_to_come for other in situation.runs_of(key)):
        return Finding(Remedy.FAIL_RUN, f"{gone} Its batch has another run.", key, run.run_id)
    state, owner = situation.owners.get(key, (None, None))
    if state == BatchState.LAUNCHED or (state == BatchState.RUNNING and owner == run.run_id):
        return Finding(Remedy.RETRY_RUN, gone, key, run.run_id)
    whose = f"run {owner}'s" if state == BatchState.RUNNING else state or "gone"
    return Finding(Remedy.FAIL_RUN, f"{gone} Its batch is {whose} by now.", key, run.run_id)
