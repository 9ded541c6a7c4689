"""Why a Dagster run failed, in the product's own words: a code and a message."""

from __future__ import annotations

import dagster as dg

WORKER_LOST = "RUN_WORKER_LOST"
STEP_FAILED = "STEP_FAILED"


def run_failure(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """`code`, `message` and, where a step failed, `step`: the last failure that the run's event log knows of.

    A step that ended with an error of ours tells its code; any other is STEP_FAILED with the exception's first line. A run that
    ended without a failed step lost its worker or could not start: RUN_WORKER_LOST with what Dagster noted.
    """
    steps = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    if steps:
        event = steps[-1].event_log_entry.get_dagster_event()
        failure = event.step_failure_data
        told = failure.user_failure_data.metadata if failure.user_failure_data else {}
        lines = (failure.error_display_string or "").strip().splitlines()
        return {
            "code": str(told["code"].value) if "code" in told else STEP_FAILED,
            "message": str(told["message"].value) if "message" in told else (lines[0] if lines else "The step failed."),
            "step": event.step_key or "",
        }
    runs = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    message = runs[-1].event_log_entry.get_dagster_event().message if runs else None
    return {"code": WORKER_LOST, "message": message or "The run's process is gone."}
