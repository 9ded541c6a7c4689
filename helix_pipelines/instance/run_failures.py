"""Why a Dagster run failed, in the product's own words: code and message, phase and place, and what helps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg

from helix_pipelines.storage.recovery import WORKER_LOST, FailedRun

STEP_FAILED = "STEP_FAILED"
TOLD = ("code", "message", "phase", "advice", "recoverable", "place")
"""What `defs/phases.py` tells with a failure."""
RETRY_TAG = "dagster/retry_number"
"""Of re-executions that Dagster started by itself."""
LOOK_AT_LOG = "Look at the run's log in Dagster's UI. The batch is tried again by itself."


def failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun, partition_key: str, created: datetime) -> FailedRun:
    """A run that failed for good, for `settle_failed_run`. A worker that Dagster has replaced before was not the only one."""
    error = run_failure(instance, run.run_id)
    lost = error["code"] == WORKER_LOST
    runs = 1 + int(run.tags.get(RETRY_TAG, 0)) if lost else 1
    return FailedRun(partition_key, run.run_id, created, error, runs=runs)


def run_failure(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """`code`, `message`, `advice`, `recoverable` and, where a step failed, `step`: the last failure in the run's event log.

    A step that ended with an error of a stage tells also phase and place. Any other is STEP_FAILED with the exception's first
    line. A run that ended without a failed step lost its worker or could not start: RUN_WORKER_LOST with what Dagster noted.
    Neither is the work's fault as far as anybody knows, so it is worth another try.
    """
    steps = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    if steps:
        event = steps[-1].event_log_entry.get_dagster_event()
        failure = event.step_failure_data
        told = failure.user_failure_data.metadata if failure.user_failure_data else {}
        lines = (failure.error_display_string or "").strip().splitlines()
        return {
            "code": STEP_FAILED,
            "message": lines[0] if lines else "The step failed.",
            "advice": LOOK_AT_LOG,
            "recoverable": True,
            **{name: told[name].value for name in TOLD if name in told},
            "step": event.step_key or "",
        }
    runs = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    message = runs[-1].event_log_entry.get_dagster_event().message if runs else None
    return {
        "code": WORKER_LOST,
        "message": message or "The run's process is gone.",
        "advice": LOOK_AT_LOG,
        "recoverable": True,
    }
