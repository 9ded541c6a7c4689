"""These tests work on a whole deployment."""

from __future__ import annotations

from helix_pipelines_tests.deployment import deployment

__all__ = ["deployment"]
