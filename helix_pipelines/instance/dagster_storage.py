"""Dagster's PostgreSQL storage with connections that are used again. Every Dagster process of Helix has it (`dagster.yaml`).

Dagster opens a connection for each statement, but in its webserver: 40 a second in a service at rest, 180 in a run, at 5 ms CPU
here and in the server.
"""

from __future__ import annotations

from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

KEPT_SECONDS = 1
"""For how long a connection is used again. Not longer, as nobody looks whether the server has been restarted meanwhile, which
takes more than a second."""
MAX_OVERFLOW = 20
"""Connections beyond the one that is kept: one for each thread of the daemon, and some for statements within statements."""
NO_TIMEOUT = 0


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's runs, events and schedules in PostgreSQL. Its configuration is that of the class that it extends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            # The webserver calls the same once more, with a limit to what a page may wait.
            storage.optimize_for_webserver(NO_TIMEOUT, pool_recycle=KEPT_SECONDS, max_overflow=MAX_OVERFLOW)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> PooledPostgresStorage:
        """The storage that `dagster.yaml` describes."""
        return cls(pg_url_from_config(config_value), inst_data=inst_data)
