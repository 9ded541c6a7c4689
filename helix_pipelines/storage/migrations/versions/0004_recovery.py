"""Recovery and the queue: who holds a batch, who asked it to stop, how far it came, and places that leave room between them."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DESTRUCTIVE = "Places in the queue change from integers to exact decimal numbers: every value stays as it is."


def upgrade() -> None:
    """Add the columns; batches keep their places."""
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Count the places anew, as whole numbers; requests to stop are forgotten, and what phases said beside their error."""
    op.execute(Path(__file__).with_name("0004_downgrade.sql").read_text(encoding="utf-8"))
    for column in ("stop_requested", "holder", "progress", "fruitless"):
        op.execute(f"ALTER TABLE helix.import_batch DROP COLUMN {column}")
    for column in ("recoverable", "place", "advice"):
        op.execute(f"ALTER TABLE helix.phase_run DROP COLUMN {column}")
