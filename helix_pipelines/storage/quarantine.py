"""What could not be used: records refused while reading, and rows whose text the embedding service refuses."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from helix_pipelines.storage.queries import load

STAGES = ("parsing", "embedding")


def list_quarantine(
    connection: psycopg.Connection,
    *,
    stage: str | None = None,
    import_id: int | None = None,
    batch: str | None = None,
    code: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """One line a row with its import, path, sheet, row number, code and message; None stands for any, and for no limit.

    A row has a line for each stage that refused it. `question` is what was read of it, `raw` the record as it was.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            load("quarantine_list"),
            {"stage": stage, "import": import_id, "batch": batch, "code": code, "limit": limit},
        ).fetchall()
