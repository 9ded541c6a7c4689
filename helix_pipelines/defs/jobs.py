"""What can be run: the import of a batch, and the verification of everything. For the queue see `queue_jobs.py`."""

from __future__ import annotations

import dagster as dg

from helix_pipelines.defs.assets import IMPORT_ASSETS
from helix_pipelines.defs.checks import VERIFICATION_CHECKS

IMPORT_JOB = "import_batch_job"
VERIFICATION_JOB = "verification_job"

import_batch_job = dg.define_asset_job(
    IMPORT_JOB,
    selection=dg.AssetSelection.assets(*IMPORT_ASSETS) - dg.AssetSelection.checks(*VERIFICATION_CHECKS),
    description="Takes one import batch all the way from its files to the knowledge base. What is done already is not repeated.",
    # Five steps take 5 s in one process and 30 s in one process each (measured): starting Python costs more than a small batch.
    executor_def=dg.in_process_executor,
)

verification_job = dg.define_asset_job(
    VERIFICATION_JOB,
    selection=dg.AssetSelection.checks(*VERIFICATION_CHECKS),
    description="Proves that ledger, references and vectors agree; changes nothing.",
    executor_def=dg.in_process_executor,
)

JOBS = [import_batch_job, verification_job]
