"""These tests work on a whole deployment."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster_postgres import DagsterPostgresStorage

from helix_pipelines.instance.dagster_home import dagster_url
from helix_pipelines_tests.databases import Databases
from helix_pipelines_tests.deployment import Deployment, deployment

__all__ = ["deployment"]


@pytest.fixture
def migrated_url(databases: Databases, request: pytest.FixtureRequest) -> Iterator[str]:
    """With Dagster's tables too where the test itself opens Dagster, which else takes a second to make them; a process that
    a test starts finds a database without.
    """
    opens_dagster = "instance" in request.fixturenames
    url = databases.prepared("template_dagster", _add_dagster) if opens_dagster else databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture
def instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    """Dagster on the deployment's database."""
    with dg.DagsterInstance.get() as instance:
        yield instance


def _add_dagster(url: str) -> None:
    storage = DagsterPostgresStorage(dagster_url(url), should_autocreate_tables=True)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
