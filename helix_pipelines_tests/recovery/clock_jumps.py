"""A run's process whose wall clock jumps in the middle of its work, while the clock that only grows does not.

    python -m helix_pipelines_tests.recovery.clock_jumps SECONDS FILE

It is `instance/run_worker.py`, except that `time.time()` is SECONDS ahead of the truth once FILE exists.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from helix_pipelines.instance import run_worker


def let_clock_jump(seconds: float, signal: Path) -> None:
    """Have this process see another time from when the file exists on."""
    true_time = time.time

    def jumping() -> float:
        return true_time() + (seconds if signal.exists() else 0.0)

    time.time = jumping


if __name__ == "__main__":
    let_clock_jump(float(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(run_worker.main())
