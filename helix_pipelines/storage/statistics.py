"""Planner statistics after bulk writes: a plan made for a table that was empty a minute ago joins 100k rows by nested loops."""

from __future__ import annotations

from psycopg import sql

from helix_pipelines.storage.engine import Database

ANALYZE_ROWS = 2_000
"""Below this a wrong plan costs less than the sample; autovacuum comes by once a minute anyway."""


def refresh_statistics(database: Database, rows: int, *tables: str) -> None:
    """Let PostgreSQL sample these tables of schema `helix` if the last step wrote many rows to them."""
    if rows < ANALYZE_ROWS:
        return
    with database.transaction() as connection:
        for table in tables:
            connection.execute(sql.SQL("ANALYZE helix.{}").format(sql.Identifier(table)))
