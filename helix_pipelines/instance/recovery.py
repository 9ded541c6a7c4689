"""Finds and mends what does not take care of itself after a crash: batches without a run, runs without a process, partitions.

What is to be done is decided by `storage/recovery_plan.py`. All of it may be done twice, or by two processes at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg
import structlog

from helix_pipelines.defs.partitions import IMPORT_BATCHES
from helix_pipelines.instance.dagster_home import dagster_environment, prepare_dagster_home
from helix_pipelines.instance.run_failures import failed_run
from helix_pipelines.instance.run_workers import MAX_RETRIES_TAG, PARTITION_TAG, WILL_RETRY_TAG, judge
from helix_pipelines.settings import Settings
from helix_pipelines.storage.claims import Claim, claim_of_run
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.queue import record_run_end, requeue
from helix_pipelines.storage.recovery import WORKER_LOST, FailedRun, RetryRules, settle_failed_run
from helix_pipelines.storage.recovery_plan import Finding, Remedy, RunFacts, RunStage, Situation, plan, plan_partitions
from helix_pipelines.storage.states import BatchState
from helix_pipelines.storage.stranded import owners, partition_keys, stranded_batches

log = structlog.get_logger(__name__)

STAGES = {
    dg.DagsterRunStatus.STARTING: RunStage.WORKING,
    dg.DagsterRunStatus.STARTED: RunStage.WORKING,
    dg.DagsterRunStatus.CANCELING: RunStage.STOPPING,
    dg.DagsterRunStatus.FAILURE: RunStage.FAILED,
    dg.DagsterRunStatus.SUCCESS: RunStage.SUCCEEDED,
    dg.DagsterRunStatus.CANCELED: RunStage.STOPPED,
}
"""Every other status means that the run waits for its turn."""
UNDER_WAY = [status for status, stage in STAGES.items() if not stage.has_ended]
NOT_ENDED = [status for status in dg.DagsterRunStatus if status not in STAGES or status in UNDER_WAY]
RUNS_READ = 20
"""Runs that are looked at of a stranded batch, the latest ones."""
PARTITIONS_AT_ONCE = 500
"""Partitions that are put right in one go, at some 5 ms each; the next look takes the next ones."""
RUN_DELETED = {
    "code": WORKER_LOST,
    "message": "The run's process is gone, and Dagster does not know the run any more.",
    "recoverable": True,
}
LEFT_ALONE = "left alone: it has moved on meanwhile"


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done about a finding: its result, or the error that kept it from being done."""

    finding: Finding
    result: str
    failed: bool = False


class Recovery:
    """One look at a deployment, and the deeds that follow. The instance's storage and `database` are the same database."""

    def __init__(self, instance: dg.DagsterInstance, database: Database, rules: RetryRules) -> None:
        self._instance = instance
        self._database = database
        self._rules = rules

    def look(self, *, partitions: bool = True) -> list[Finding]:
        """What is to be done; changes nothing. Comparing 100,000 `partitions` with their batches takes a second."""
        # Read before the batches: a key is added once its batch is committed, so one that is seen here has its batch by then.
        keys = self._instance.get_dynamic_partitions(IMPORT_BATCHES) if partitions else []
        findings = plan(self._situation())
        return [*findings, *self._partitions(keys)] if partitions else findings

    def act(self, findings: Sequence[Finding]) -> list[Deed]:
        """Do what is to be done; a deed that fails keeps no other from being done, and is found again by the next look."""
        return [self._do(finding) for finding in findings]

    def _situation(self) -> Situation:
        with self._database.transaction() as connection:
            batches = stranded_batches(connection)
        records = {record.dagster_run.run_id: record for record in self._runs(dg.RunsFilter(statuses=UNDER_WAY))}
        for batch in batches:
            on_batch = self._runs(dg.RunsFilter(tags={PARTITION_TAG: batch.partition_key}), limit=RUNS_READ)
            records |= {record.dagster_run.run_id: record for record in on_batch}
        keys = [key for record in records.values() if (key := record.dagster_run.tags.get(PARTITION_TAG)) is not None]
        with self._database.transaction() as connection:
            claims = {
                run_id: claim_of_run(connection, run_id)
                for run_id, record in records.items()
                if record.dagster_run.status in UNDER_WAY
            }
            belong = owners(connection, keys)
        return Situation(batches, [self._facts(record, claims) for record in records.values()], belong)

    def _facts(self, record: dg.RunRecord, claims: Mapping[str, Claim | None]) -> RunFacts:
        run = record.dagster_run
        facts = RunFacts(run.run_id, run.tags.get(PARTITION_TAG), STAGES.get(run.status, RunStage.WAITING))
        if run.is_finished:
            ended = record.end_time or record.update_timestamp.timestamp()
            return replace(facts, ended=time.time() - ended)
        if run.run_id in claims:
            verdict, reason = judge(self._instance, run, claims[run.run_id])
            return replace(facts, verdict=verdict, reason=reason)
        return facts

    def _runs(self, filters: dg.RunsFilter, limit: int | None = None) -> Sequence[dg.RunRecord]:
        return self._instance.get_run_records(filters, limit=limit)

    def _partitions(self, keys: Sequence[str]) -> list[Finding]:
        with self._database.transaction() as connection:
            batches = partition_keys(connection)
        known = frozenset(batches)
        under_way = frozenset(key for key in keys if key not in known and self._has_runs(key))
        return plan_partitions(keys, batches, under_way)[:PARTITIONS_AT_ONCE]

    def _has_runs(self, key: str) -> bool:
        return self._instance.get_runs_count(dg.RunsFilter(tags={PARTITION_TAG: key}, statuses=NOT_ENDED)) > 0

    def _do(self, finding: Finding) -> Deed:
        deeds: Mapping[Remedy, Callable[[Finding], str]] = {
            Remedy.RETRY_RUN: self._end_run,
            Remedy.FAIL_RUN: self._end_run,
            Remedy.STOP_RUN: self._end_run,
            Remedy.SETTLE_BATCH: self._settle_batch,
            Remedy.STOP_BATCH: self._stop_batch,
            Remedy.REQUEUE_BATCH: self._requeue_batch,
            Remedy.ADD_PARTITION: self._add_partition,
            Remedy.REMOVE_PARTITION: self._remove_partition,
        }
        try:
            return Deed(finding, deeds[finding.remedy](finding))
        except Exception as error:
            log.exception("recovery_failed", remedy=finding.remedy, batch=finding.batch, run=finding.run_id)
            return Deed(finding, f"{type(error).__name__}: {error}", failed=True)

    def _end_run(self, finding: Finding) -> str:
        run = self._instance.get_run_by_id(finding.run_id or "")
        if run is None or run.is_finished:
            return LEFT_ALONE
        if finding.remedy is Remedy.STOP_RUN:
            self._instance.report_run_canceled(run, finding.detail)
            return "shown as canceled"
        if finding.remedy is Remedy.FAIL_RUN:
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
        self._instance.report_run_failed(run, finding.detail)
        ended = self._instance.get_run_by_id(run.run_id)
        is_retried = ended is not None and ended.tags.get(WILL_RETRY_TAG) == "true"
        return "shown as failed, Dagster retries it" if is_retried else "shown as failed"

    def _settle_batch(self, finding: Finding) -> str:
        key, run_id = finding.batch or "", finding.run_id or ""
        record = self._instance.get_run_record_by_id(run_id)
        if record is None:
            failed = FailedRun(key, run_id, datetime.now(UTC), RUN_DELETED, worker_is_gone=True)
        else:
            if record.dagster_run.tags.get(WILL_RETRY_TAG) == "true":  # it had its time, and only one may launch again
                self._instance.add_run_tags(run_id, {WILL_RETRY_TAG: "false"})
            told = failed_run(self._instance, record.dagster_run, key, record.create_timestamp)
            failed = replace(told, worker_is_gone=True)
        with self._database.transaction() as connection:
            state = settle_failed_run(connection, failed, self._rules)
        return state or LEFT_ALONE

    def _stop_batch(self, finding: Finding) -> str:
        with self._database.transaction() as connection:
            now = connection.execute("SELECT clock_timestamp()").fetchone()
            assert now is not None
            moved = record_run_end(
                connection,
                finding.batch or "",
                finding.run_id or "",
                BatchState.PAUSED,
                run_created=now[0],
                worker_is_gone=True,
            )
        return "stopped" if moved else LEFT_ALONE

    def _requeue_batch(self, finding: Finding) -> str:
        with self._database.transaction() as connection:
            return requeue(connection, finding.batch or "") or LEFT_ALONE

    def _add_partition(self, finding: Finding) -> str:
        self._instance.add_dynamic_partitions(IMPORT_BATCHES, [finding.batch or ""])
        return "added"

    def _remove_partition(self, finding: Finding) -> str:
        self._instance.delete_dynamic_partition(IMPORT_BATCHES, finding.batch or "")
        return "removed"


def opened_instance(settings: Settings, url: str) -> dg.DagsterInstance:
    """The deployment's instance, for processes that Dagster did not start; its block ends by closing it."""
    prepare_dagster_home(settings, url)
    os.environ.update(dagster_environment(settings, url))  # Dagster finds its instance by nothing else
    return dg.DagsterInstance.get()


@contextmanager
def opened_recovery(settings: Settings, url: str) -> Iterator[Recovery]:
    """Recovery by hand."""
    with closing(Database.from_settings(url, settings)) as database, opened_instance(settings, url) as instance:
        yield Recovery(instance, database, RetryRules.from_settings(settings))
