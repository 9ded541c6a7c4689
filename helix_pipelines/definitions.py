"""The code location: everything that Dagster's webserver, daemon and run workers see of Helix."""

from __future__ import annotations

import dagster as dg

from helix_pipelines.defs.assets import IMPORT_ASSETS
from helix_pipelines.defs.checks import IMPORT_CHECKS, VERIFICATION_CHECKS
from helix_pipelines.defs.jobs import JOBS
from helix_pipelines.defs.queue_jobs import QUEUE_JOBS
from helix_pipelines.defs.resources import resources
from helix_pipelines.defs.schedules import hourly_verification
from helix_pipelines.defs.sensors import SENSORS


@dg.definitions
def definitions() -> dg.Definitions:
    """Loaded by module name (`workspace.yaml`); needs neither database nor network."""
    return dg.Definitions(
        assets=IMPORT_ASSETS,
        asset_checks=[*IMPORT_CHECKS, *VERIFICATION_CHECKS],
        jobs=[*JOBS, *QUEUE_JOBS],
        sensors=SENSORS,
        schedules=[hourly_verification],
        resources=resources(),
    )
