"""The gate's algorithm: columns and functions for a shared budget and breaker, and where a deferred batch waits."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

GATE_COLUMNS = (
    "id",
    "period_seconds",
    "tokens_per_day",
    "failure_threshold",
    "probe_cap_seconds",
    "chosen_requests_per_minute",
    "chosen_tokens_per_minute",
    "chosen_max_concurrency",
    "told_requests",
    "told_tokens",
    "reserve_requests_tat",
    "reserve_tokens_tat",
    "interactive_at",
    "interactive_since",
    "largest_tokens",
    "largest_at",
    "token_ratio",
    "failed_at",
    "probe_wait",
    "opened_at",
    "shut_code",
    "shut_scope",
    "shut_at",
    "day",
    "day_tokens",
)
LEASE_COLUMNS = ("holder", "starts_at", "is_probe", "estimated_tokens", "charged_tokens")
BATCH_COLUMNS = ("retry_at", "gate_key")
FUNCTIONS = ("gate_release", "gate_check", "gate_acquire", "gate_bury", "gate_slot", "gate_limits", "gate_clock")
AUTOVACUUM = "autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay"


def upgrade() -> None:
    """Add what the gate needs; existing rows stay as they are."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(
        script
    )  # through psycopg itself: SQLAlchemy would read % as a placeholder


def downgrade() -> None:
    """Take it away again; limits that an operator chose are forgotten."""
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION helix.{function}")
    op.execute("DROP TRIGGER audit ON helix.gate")
    for table, columns in (("gate", GATE_COLUMNS), ("gate_lease", LEASE_COLUMNS), ("import_batch", BATCH_COLUMNS)):
        op.execute(f"ALTER TABLE helix.{table} {', '.join(f'DROP COLUMN {column}' for column in columns)}")
    for table in ("gate", "gate_lease"):
        op.execute(f"ALTER TABLE helix.{table} RESET ({AUTOVACUUM})")
    op.execute("UPDATE helix.phase_run SET state = 'done' WHERE state = 'deferred'")
    op.execute("ALTER TABLE helix.phase_run DROP CONSTRAINT ck_phase_run_state")
    op.execute(
        "ALTER TABLE helix.phase_run ADD CONSTRAINT ck_phase_run_state CHECK (state IN ('running', 'done', 'failed'))"
    )
    op.execute(
        "CREATE TRIGGER audit AFTER INSERT OR"
        " UPDATE OF requests_per_minute, tokens_per_minute, max_concurrency, message OR DELETE"
        " ON helix.gate FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{requests_tat,tokens_tat}')"
    )
