"""Workbooks, archives and replays: which sheets are read, what was left out, and what corrects what."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = ("pending", "stored", "parsed", "completed", "completed_with_quarantine", "rejected", "failed")


def upgrade() -> None:
    """Add the columns; existing rows stay as they are."""
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Take them away again; unpacked archives count as rejected ones."""
    op.execute(Path(__file__).with_name("0003_downgrade.sql").read_text(encoding="utf-8"))
    op.execute("UPDATE helix.import_job SET state = 'rejected' WHERE state = 'unpacked'")
    op.execute("ALTER TABLE helix.import_job DROP CONSTRAINT ck_import_job_state")
    states = ", ".join(f"'{state}'" for state in STATES)
    op.execute(f"ALTER TABLE helix.import_job ADD CONSTRAINT ck_import_job_state CHECK (state IN ({states}))")
    for column in ("sheets", "notes", "archive_id", "replay_of"):
        op.execute(f"ALTER TABLE helix.import_job DROP COLUMN {column}")
    op.execute("ALTER TABLE helix.import_row DROP COLUMN replayed_by")
