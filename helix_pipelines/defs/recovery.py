"""What a crash leaves behind is found and put right, without a person."""

from __future__ import annotations

import time

import dagster as dg

from helix_pipelines.defs.jobs import import_batch_job
from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.instance.recovery import Deed, Recovery
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.recovery import RetryRules
from helix_pipelines.storage.recovery_plan import Finding

RECOVERY_INTERVAL = 8
"""Seconds between two looks at least: every second time that Dagster's daemon looks at its sensors, which it does every 5 s."""
PARTITION_SECONDS = 300.0
"""Between two comparisons of partitions with batches, of which 100,000 take a second. Nothing waits for them."""


@dg.sensor(
    target=import_batch_job,
    minimum_interval_seconds=RECOVERY_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process is gone, so that they are retried, and moves on batches that no run will move.",
)
def recovery_sensor(
    context: dg.SensorEvaluationContext, database: dg.ResourceParam[DatabaseResource]
) -> dg.SensorResult:
    """One look. The cursor is when partitions were last compared with batches, in seconds since 1970."""
    settings = load_settings()
    now = time.time()
    compares = now - float(context.cursor or 0) >= PARTITION_SECONDS
    with database.pool() as pool:
        recovery = Recovery(context.instance, pool, RetryRules.from_settings(settings))
        findings = recovery.look(partitions=compares)
        deeds = recovery.act(findings) if settings.auto_recovery else []
    told = [_tell(context, deed) for deed in deeds] or [_report(context, finding) for finding in findings]
    return dg.SensorResult(
        skip_reason="\n".join(told) or "Nothing is stranded.", cursor=str(now) if compares else context.cursor
    )


def _tell(context: dg.SensorEvaluationContext, deed: Deed) -> str:
    sentence = f"{deed.finding.remedy} {_name(deed.finding)}: {deed.result}. {deed.finding.detail}"
    (context.log.error if deed.failed else context.log.warning)(sentence)
    return sentence


def _report(context: dg.SensorEvaluationContext, finding: Finding) -> str:
    sentence = f"{finding.remedy} {_name(finding)} is left to `helix recover` (HELIX_AUTO_RECOVERY). {finding.detail}"
    context.log.warning(sentence)
    return sentence


def _name(finding: Finding) -> str:
    return " ".join(name for name in (finding.batch, finding.run_id) if name)
