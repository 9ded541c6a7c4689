"""The `helix` command line."""

from __future__ import annotations

from helix_pipelines.cli.app import main

__all__ = ["main"]
