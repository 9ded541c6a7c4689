"""What is checked of each batch, and hourly of everything.

Only a ledger that does not add up stops a run: that is ours to answer for. Input that was refused and texts that could not be
embedded are facts about the batch, shown as warnings with their figures. Those are found in the stage's own report, so they cost
no step.
"""

# No `from __future__ import annotations`: Dagster reads the annotation of `context` as it stands.
from collections.abc import Sequence

import dagster as dg

from helix_pipelines.defs.assets import knowledge_base, qa_pairs
from helix_pipelines.defs.reports import markdown_table
from helix_pipelines.defs.resources import DatabaseResource
from helix_pipelines.serving.verify import verify
from helix_pipelines.storage.queries import load


@dg.asset_check(asset=qa_pairs, blocking=True)
def ledger_adds_up(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[DatabaseResource]
) -> dg.AssetCheckResult:
    """Every row that was read has one outcome: the counters of the batch's files agree with the ledger, line by line.

    Executed on its own, without a partition, it looks at all batches.
    """
    key = context.partition_key if context.has_partition_key else None
    with database.pool() as pool, pool.transaction() as connection:
        [(batch,)] = connection.execute("SELECT max(id) FROM helix.import_batch WHERE partition_key = %s", [key])
        [(violations, example)] = connection.execute(load("verify_ledger_adds_up"), {"batch": batch})
    return dg.AssetCheckResult(
        passed=violations == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"Run `helix verify`; first at fault: {example}." if violations else "Every row is accounted for.",
        metadata={"files_at_fault": violations},
    )


@dg.asset_check(asset=knowledge_base)
def everything_adds_up(database: dg.ResourceParam[DatabaseResource]) -> dg.AssetCheckResult:
    """Ledger, references and vectors of the whole knowledge base agree; the same as `helix verify`."""
    with database.pool() as pool, pool.transaction() as connection:
        findings = verify(connection)
    failed = [finding for finding in findings if not finding.ok]
    lines = [("ok" if finding.ok else "FAILED", finding.check, finding.detail) for finding in findings]
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(failed)} of {len(findings)} checks failed."
        if failed
        else f"All {len(findings)} checks passed.",
        metadata={
            "failed": len(failed),
            "table": dg.MetadataValue.md(markdown_table(("result", "check", "detail"), lines)),
        },
    )


IMPORT_CHECKS: Sequence[dg.AssetChecksDefinition] = [ledger_adds_up]
"""Run as a step of every import."""
VERIFICATION_CHECKS: Sequence[dg.AssetChecksDefinition] = [everything_adds_up]
"""Run by the hourly verification."""
