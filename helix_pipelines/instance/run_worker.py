"""The process in which `helix import` executes one Dagster run.

    python -m helix_pipelines.instance.run_worker --partition KEY --run-id UUID --job import_batch_job

Exit code 0 says that the run succeeded.
"""

from __future__ import annotations

import argparse
import gc
import sys


def main() -> int:
    """Execute one run; 0 if it succeeded, 1 if it failed or was stopped."""
    parser = argparse.ArgumentParser(description="Execute a Dagster job on an import batch, in this process.")
    parser.add_argument("--partition", required=True, help="the batch")
    parser.add_argument("--run-id", required=True, help="a UUID that no run has yet")
    parser.add_argument("--job", required=True)
    options = parser.parse_args()
    # Loading Dagster makes a million objects that stay: collecting among them takes 0.3 of its 2 s.
    # `run_batch` enables collection again before the first step.
    gc.disable()
    from helix_pipelines.instance.run_execution import run_batch

    return 0 if run_batch(options.job, options.partition, options.run_id) else 1


if __name__ == "__main__":
    sys.exit(main())
