"""These tests work on a whole deployment."""

from __future__ import annotations

from helix_pipelines_tests.deployment import deployment, schema_url

__all__ = ["deployment", "schema_url"]
