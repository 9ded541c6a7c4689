"""Sensors, schedules and jobs work in a process that has done nothing else, on an empty knowledge base."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import dagster as dg

from helix_pipelines.defs.jobs import IMPORT_JOB
from helix_pipelines.defs.sensors import SENSORS
from helix_pipelines_tests.deployment import Deployment


def test_everything_that_happens_by_itself_is_evaluated_in_a_fresh_process(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "helix_pipelines_tests.integration.evaluate_everything"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert {name: said for name, said in outcome.items() if said != "evaluated"} == {}
    assert {sensor.name for sensor in SENSORS} | {IMPORT_JOB, "hourly_verification"} <= set(outcome)
