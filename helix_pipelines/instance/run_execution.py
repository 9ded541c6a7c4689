"""One Dagster run from its creation to its end, in this process: created as Dagster's daemon would, executed, its end told.

Dagster has no public way to create a run that its UI can execute again without a daemon and a code server; the private parts
that it takes are named here and nowhere else.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import dagster as dg
import psycopg
import structlog
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._grpc.impl import core_execute_run
from dagster._utils.interrupts import capture_interrupts

from helix_pipelines import definitions
from helix_pipelines.defs.partitions import IMPORT_BATCHES
from helix_pipelines.instance import services
from helix_pipelines.instance.dagster_home import URL_VARIABLE
from helix_pipelines.instance.dagster_runs import STOP
from helix_pipelines.instance.dagster_storage import PooledPostgresStorage
from helix_pipelines.instance.run_failures import failed_run
from helix_pipelines.instance.run_orders import DatabaseOrder, RunOrder, receive
from helix_pipelines.instance.run_workers import MAX_RETRIES_TAG, PARTITION_TAG, LaunchMark
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.queue import record_run_end
from helix_pipelines.storage.recovery import RetryRules, settle_failed_run
from helix_pipelines.storage.states import BatchState

log = structlog.get_logger(__name__)

LOADED_AHEAD = (PooledPostgresStorage, LocalComputeLogManager)
"""What an instance is made of. Dagster would load it once the instance is opened; here it is loaded while the database starts."""
CODE_FUNCTION = "definitions"
"""In `helix_pipelines/definitions.py`, which `workspace.yaml` names."""
REPOSITORY = "__repository__"
"""The name that Dagster gives to what `@dg.definitions` returns."""
REPOSITORY_TAG = ".dagster/repository"

TERMINATION_POLL = 2.0
"""Seconds between two looks at whether somebody has terminated the run."""
TERMINATED = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED})


def obey(orders: IO[bytes]) -> bool:
    """Execute the run that is asked for (`instance/run_orders.py`); whether it succeeded, or none was asked for."""
    database = receive(orders, DatabaseOrder)
    if database is None:
        return True
    os.environ[URL_VARIABLE] = database.dagster_url
    # The database is held from before Dagster's first event until after its last one.
    with services.database(load_settings()) as url, dg.DagsterInstance.get() as instance:
        order = receive(orders, RunOrder)
        return order is None or run_batch(instance, url, order)


def run_batch(instance: dg.DagsterInstance, url: str, order: RunOrder) -> bool:
    """Run a job on a batch, and tell the batch how it ended; whether it succeeded."""
    job = job_pointer(order.job)
    # Where this process is lost, the command itself or the queue launches another run, and not Dagster too.
    tags = {MAX_RETRIES_TAG: "0", **LaunchMark.now().tags()}
    run = create_run(instance, job, order.partition_key, order.run_id, tags)
    gc.freeze()  # what was loaded stays, so collections need not look at it
    gc.enable()
    status = execute(instance, job, run)
    tell_batch(instance, url, order.partition_key, order.run_id)
    return status is dg.DagsterRunStatus.SUCCESS


def execute(instance: dg.DagsterInstance, job: ReconstructableJob, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """Execute a run to its end and return how it ended; errors of steps are in the run's event log."""
    with capture_interrupts(), _stoppable(instance, run):
        for _ in core_execute_run(job, run, instance, inject_env_vars=False):
            pass
    ended = instance.get_run_by_id(run.run_id)
    return ended.status if ended else dg.DagsterRunStatus.CANCELED


def job_pointer(job_name: str) -> ReconstructableJob:
    """The job by the place of its code, so that other processes can load it."""
    code = ReconstructableRepository.for_module(definitions.__name__, CODE_FUNCTION, str(Path.cwd()))
    return code.get_reconstructable_job(job_name)


def create_run(
    instance: dg.DagsterInstance,
    job: ReconstructableJob,
    partition_key: str,
    run_id: str,
    tags: Mapping[str, str] | None = None,
) -> dg.DagsterRun:
    """A run of the job on a partition, which is made known to Dagster if it is not.

    It has the origin of its code location, without which the UI could neither place nor re-execute it.
    """
    instance.add_dynamic_partitions(IMPORT_BATCHES, [partition_key])
    workspace = Path(instance.root_directory) / "workspace.yaml"
    [location] = location_origins_from_yaml_paths([str(workspace)])
    repository = RemoteRepositoryOrigin(location, REPOSITORY)
    return instance.create_run_for_job(
        job.get_definition(),
        run_id=run_id,
        tags={
            PARTITION_TAG: partition_key,
            REPOSITORY_TAG: repository.get_label(),
            **(tags or {}),
        },
        remote_job_origin=repository.get_job_origin(job.job_name),
        job_code_origin=job.get_python_origin(),
    )


def tell_batch(instance: dg.DagsterInstance, url: str, partition_key: str, run_id: str) -> None:
    """Move the batch where its run ended short of the knowledge base; with a daemon the run-status sensors do the same."""
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
        return
    with psycopg.connect(url) as connection:
        if record.dagster_run.status is dg.DagsterRunStatus.CANCELED:
            record_run_end(connection, partition_key, run_id, BatchState.PAUSED, run_created=record.create_timestamp)
        else:
            failed = failed_run(instance, record.dagster_run, partition_key, record.create_timestamp)
            settle_failed_run(connection, failed, RetryRules.from_settings(load_settings()))


class _TerminationWatch(threading.Thread):
    """Interrupts the main thread once the run is terminated: in the UI, which for a run of ours can only leave a mark, or by
    the signal STOP. Dagster has such a thread too; it goes on to interrupt whatever comes after a run that failed.
    """

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        super().__init__(name="termination-watch", daemon=True)
        self._instance = instance
        self._run = run
        self._wake = threading.Event()
        self._asked = False
        self._ended = False

    def ask(self, *_: object) -> None:
        """Terminate the run; a signal handler."""
        self._asked = True
        self._wake.set()

    def end(self) -> None:
        """Stop watching."""
        self._ended = True
        self._wake.set()
        self.join()

    def run(self) -> None:
        """Look every few seconds, and at once when woken."""
        while not self._ended:
            self._wake.wait(TERMINATION_POLL)
            self._wake.clear()
            run = self._look()
            if run is None or self._ended:
                continue
            if self._asked and run.status not in TERMINATED:
                # Without this mark Dagster takes the interruption for a failure.
                self._instance.report_run_canceling(run)
            if self._asked or run.status in TERMINATED:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    def _look(self) -> dg.DagsterRun | None:
        """The run's record; a database that does not answer says nothing about it."""
        try:
            return self._instance.get_run_by_id(self._run.run_id)
        except Exception:
            log.exception("run_not_looked_at", run=self._run.run_id)
            return None


@contextmanager
def _stoppable(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[None]:
    watch = _TerminationWatch(instance, run)
    earlier = signal.signal(STOP, watch.ask)
    watch.start()
    try:
        yield
    finally:
        watch.end()
        signal.signal(STOP, earlier)
