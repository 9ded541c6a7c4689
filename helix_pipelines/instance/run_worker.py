"""The process that executes one Dagster run for `helix import`: create the run as Dagster's daemon would, execute it, tell how
it ended.

    python -m helix_pipelines.instance.run_worker --partition KEY --run-id UUID --job import_batch_job

Exit code 0 says that the run succeeded. Dagster has no public way to create a run that its UI can execute again without a
daemon and a code server; the private parts that it takes are named here and nowhere else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import dagster as dg
import psycopg
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.run_cancellation_thread import start_run_cancellation_thread
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._grpc.impl import core_execute_run
from dagster._utils.interrupts import capture_interrupts

from helix_pipelines.defs.partitions import IMPORT_BATCHES
from helix_pipelines.instance import services
from helix_pipelines.instance.run_failures import run_failure
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.queue import record_run_end
from helix_pipelines.storage.states import BatchState

CODE_MODULE = "helix_pipelines.definitions"
CODE_FUNCTION = "definitions"
REPOSITORY = "__repository__"
"""The name that Dagster gives to what `@dg.definitions` returns."""
PARTITION_TAG = "dagster/partition"
REPOSITORY_TAG = ".dagster/repository"


def main() -> int:
    """Execute one run; 0 if it succeeded."""
    parser = argparse.ArgumentParser(description="Execute a Dagster job on an import batch, in this process.")
    parser.add_argument("--partition", required=True, help="the batch")
    parser.add_argument("--run-id", required=True, help="a UUID that no run has yet")
    parser.add_argument("--job", required=True)
    options = parser.parse_args()
    # The database is held from before Dagster's first event until after its last one.
    with services.database(load_settings()) as url, dg.DagsterInstance.get() as instance:
        status = execute(instance, options.job, options.partition, options.run_id)
        tell_batch(instance, url, options.partition, options.run_id)
    return 0 if status is dg.DagsterRunStatus.SUCCESS else 1


def execute(instance: dg.DagsterInstance, job_name: str, partition_key: str, run_id: str) -> dg.DagsterRunStatus:
    """Create and execute the run, and return how it ended; errors of steps are in the run's event log."""
    code = ReconstructableRepository.for_module(CODE_MODULE, CODE_FUNCTION, str(Path.cwd()))
    job = code.get_reconstructable_job(job_name)
    instance.add_dynamic_partitions(IMPORT_BATCHES, [partition_key])
    run = _create_run(instance, job, partition_key, run_id)
    # A run terminated in the UI is marked there; nobody but this thread would look at the mark.
    _, stop_looking = start_run_cancellation_thread(instance, run_id)
    try:
        with capture_interrupts():
            for _ in core_execute_run(job, run, instance, inject_env_vars=False):
                pass
    finally:
        stop_looking.set()
    ended = instance.get_run_by_id(run_id)
    return ended.status if ended else dg.DagsterRunStatus.CANCELED


def tell_batch(instance: dg.DagsterInstance, url: str, partition_key: str, run_id: str) -> None:
    """Move the batch where its run ended short of the knowledge base; with a daemon the run-status sensors do the same."""
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
        return
    canceled = record.dagster_run.status is dg.DagsterRunStatus.CANCELED
    with psycopg.connect(url) as connection:
        record_run_end(
            connection,
            partition_key,
            run_id,
            BatchState.PAUSED if canceled else BatchState.ERROR,
            run_created=record.create_timestamp,
            error=None if canceled else run_failure(instance, run_id),
        )


def _create_run(
    instance: dg.DagsterInstance, job: ReconstructableJob, partition_key: str, run_id: str
) -> dg.DagsterRun:
    """The run with the origin of its code location, without which the UI could neither place nor re-execute it."""
    workspace = Path(instance.root_directory) / "workspace.yaml"
    [location] = location_origins_from_yaml_paths([str(workspace)])
    repository = RemoteRepositoryOrigin(location, REPOSITORY)
    return instance.create_run_for_job(
        job.get_definition(),
        run_id=run_id,
        tags={PARTITION_TAG: partition_key, REPOSITORY_TAG: repository.get_label()},
        remote_job_origin=repository.get_job_origin(job.job_name),
        job_code_origin=job.get_python_origin(),
    )


if __name__ == "__main__":
    sys.exit(main())
