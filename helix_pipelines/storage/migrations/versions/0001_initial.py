"""Schema `helix` with its tables, guards, audit triggers and the read view."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "inbox_file",
    "phase_run",
    "api_usage",
    "audit_log",
    "event",
    "gate_lease",
    "gate",
    "llm_response",
    "source_domain",
    "embedding",
    "embedding_generation",
    "passage",
    "occurrence",
    "qa_pair",
    "checkpoint",
    "row_content",
    "import_row",
    "import_job",
    "batch_transition",
    "import_batch",
    "source",
    "collection",
)
FUNCTIONS = ("check_batch_transition", "refuse_change", "audit_row", "audit_pairs", "audit_ledger", "actor")


def upgrade() -> None:
    """Create everything on an empty schema."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(
        script
    )  # through psycopg itself: SQLAlchemy would read % as a placeholder


def downgrade() -> None:
    """Drop everything; the data goes with it."""
    op.execute("DROP VIEW helix.knowledge_base")
    for table in TABLES:
        op.execute(f"DROP TABLE helix.{table}")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION helix.{function}()")
