"""Launches runs as Dagster does by default, and tells its run monitoring whether their processes live (`dagster.yaml`).

Dagster's own launcher cannot: after a kill of the whole service its runs would be shown as running for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
import psycopg
from dagster._config import StringSource, UserConfigSchema
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._serdes import ConfigurableClassData

from helix_pipelines.instance.external_database import neutral_url
from helix_pipelines.instance.run_workers import LaunchMark, judge
from helix_pipelines.storage.claims import Claim, claim_of_run
from helix_pipelines.storage.holders import Verdict

CONNECT_TIMEOUT = 5
"""Seconds; the monitoring looks at one run after the other."""


class HelixRunLauncher(DefaultRunLauncher):
    """Dagster's launcher with a worker health check. `database_url` is the URL of its storage, where the batches are too."""

    def __init__(self, database_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._database_url = neutral_url(database_url)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """What `dagster.yaml` has to say."""
        return {"database_url": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> HelixRunLauncher:
        """The launcher that `dagster.yaml` describes."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch it, marked with who does so and when."""
        self._instance.add_run_tags(context.dagster_run.run_id, LaunchMark.now().tags())
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring asks `check_run_worker_health` of every run that it shows as started."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """`FAILED` only where the run's process is certainly gone; Dagster then fails the run, and retries it.

        Runs that were executed elsewhere are not judged here, nor is any run while the database does not answer: it alone knows
        whether the run was heard of lately.
        """
        if LaunchMark.of(run) is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "It is executed elsewhere.")
        try:
            claim = self._claim(run)
        except psycopg.Error as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"The database does not answer: {error}")
        verdict, reason = judge(self._instance, run, claim)
        status = WorkerStatus.FAILED if verdict is Verdict.GONE else WorkerStatus.RUNNING
        return CheckRunHealthResult(status, f"The run's process is {verdict}: {reason}.")

    def _claim(self, run: dg.DagsterRun) -> Claim | None:
        with psycopg.connect(self._database_url, connect_timeout=CONNECT_TIMEOUT, autocommit=True) as connection:
            return claim_of_run(connection, run.run_id)
