"""What happens by the clock."""

from __future__ import annotations

import dagster as dg

from helix_pipelines.defs.jobs import verification_job

hourly_verification = dg.ScheduleDefinition(
    name="hourly_verification",
    job=verification_job,
    cron_schedule="17 * * * *",  # away from the full hour, when everybody else's jobs begin
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Verifies the knowledge base every hour; a fault shows on the asset's page within the hour.",
)
