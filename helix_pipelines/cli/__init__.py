"""The `helix` command line: its process, before and after a command."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Sequence

CALM_COLLECTOR = 100_000
"""New objects between two looks for garbage. Loading the modules of a command makes 60,000 that all stay: Python, which looks
every 700, spends a tenth of a command's start on finding nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process by default) and return its exit code."""
    gc.set_threshold(CALM_COLLECTOR)
    # Python's last act would be to look for garbage in every module: 60 of the 500 ms that a search may take.
    atexit.register(gc.freeze)
    from helix_pipelines.cli.app import run

    return run(argv)


__all__ = ["main"]
