"""Check results that a stage's own report answers; they come with the materialization and cost no step."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from helix_pipelines.defs.reports import row_counts
from helix_pipelines.storage.imports import FileLine

FILES_ACCEPTED = "files_are_accepted"
ROWS_ACCEPTED = "rows_are_accepted"
TEXTS_EMBEDDED = "texts_are_embedded"


def check_spec(asset: str, name: str) -> dg.AssetCheckSpec:
    """The declaration that belongs to a result of this module."""
    return dg.AssetCheckSpec(name, asset=asset, description=_DESCRIPTIONS[name])


def files_are_accepted(files: Sequence[FileLine]) -> dg.AssetCheckResult:
    """Warns of files that were rejected as a whole."""
    rejected = [file for file in files if file.code]
    return _warning(FILES_ACCEPTED, len(rejected), len(files), "files were rejected")


def rows_are_accepted(files: Sequence[FileLine]) -> dg.AssetCheckResult:
    """Warns of quarantined rows, with their share of the rows read."""
    counts = row_counts(files)
    return _warning(ROWS_ACCEPTED, counts["quarantined"], counts["rows_read"], "rows are in quarantine")


def texts_are_embedded(failed: int, pending: int, texts: int) -> dg.AssetCheckResult:
    """Warns of texts without a vector: their pairs are found by their words only, or not yet."""
    return _warning(TEXTS_EMBEDDED, failed + pending, texts, "texts have no vector", failed=failed, pending=pending)


def not_known(name: str, outcome: str) -> dg.AssetCheckResult:
    """Says that a run ended before the check could be answered. Dagster wants a result of every check, also without the asset."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"The run ended as {outcome} before this was known.",
    )


def _warning(name: str, faulty: int, total: int, what: str, **figures: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=faulty == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{faulty:,} of {total:,} {what}.",
        metadata={"faulty": faulty, "total": total, "share": round(faulty / total, 4) if total else 0.0, **figures},
    )


_DESCRIPTIONS = {
    FILES_ACCEPTED: "No file was rejected as a whole.",
    ROWS_ACCEPTED: "No row is in quarantine.",
    TEXTS_EMBEDDED: "Every text of the batch has a vector.",
}
