"""The process in which `helix import` executes one Dagster run.

    python -m helix_pipelines.instance.run_worker

It loads Dagster, then does what it reads on its standard input (`instance/run_orders.py`). Exit code 0 says that the run
succeeded, or that there was none.
"""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Execute one run; 0 if it succeeded, 1 if it failed or was stopped."""
    # Loading Dagster makes a million objects that stay: collecting among them takes 0.3 of its 2 s.
    # `run_batch` enables collection again before the first step.
    gc.disable()
    from helix_pipelines.instance.run_execution import obey

    return 0 if obey(sys.stdin.buffer) else 1


if __name__ == "__main__":
    sys.exit(main())
