"""SIGTERM, by which service managers and `helix down` end processes, ends a run at the next chunk and its batch goes on later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from helix_pipelines.defs.jobs import IMPORT_JOB
from helix_pipelines.instance.run_execution import create_run, execute, job_pointer
from helix_pipelines_tests.deployment import Deployment
from helix_pipelines_tests.integration.code_server import launched
from helix_pipelines_tests.waiting import until

pytestmark = pytest.mark.recovery
ROWS = 40
FIRST = "00000000-0000-4000-8000-000000000001"
SECOND = "00000000-0000-4000-8000-000000000002"


def test_a_run_that_gets_sigterm_ends_at_the_next_chunk_and_its_batch_goes_on_from_there(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    key = deployment.begin(deployment.write(tmp_path / "faq.csv", ROWS), max_texts_per_request=2)
    deployment.service.set_faults(latency=0.3)
    with launched(instance, IMPORT_JOB, key, FIRST, lambda: deployment.service.counters().answered):
        os.kill(deployment.batch(key)["holder"]["pid"], signal.SIGTERM)
        until(lambda: deployment.batch(key)["state"] == "queued")
        until(lambda: instance.get_run_by_id(FIRST).is_finished)  # type: ignore[union-attr]
    ended = instance.get_run_by_id(FIRST)
    assert ended is not None
    assert (ended.status, ended.tags["helix/outcome"]) == (dg.DagsterRunStatus.SUCCESS, "interrupted")
    paid = deployment.service.counters().texts
    assert 0 < paid < ROWS

    deployment.service.set_faults(latency=0.0)
    status = execute(instance, job_pointer(IMPORT_JOB), create_run(instance, job_pointer(IMPORT_JOB), key, SECOND))
    assert status is dg.DagsterRunStatus.SUCCESS
    assert deployment.batch(key)["state"] == "done"
    counters = deployment.service.counters()
    assert (counters.texts, counters.texts_seen_twice) == (ROWS, 0), "what was answered was stored before the end"
