"""Runs revisions on the connection that `storage.schema` hands over; also serves `alembic` by hand."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from helix_pipelines.storage.tables import SCHEMA, metadata


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Only schema `helix`, without the partitions that generations add to `embedding`."""
    if kind == "schema":
        return name == SCHEMA
    return not (kind == "table" and name is not None and name.startswith("embedding_g"))


def run(connection: Connection) -> None:
    """Run the requested revisions in one transaction, with the version table inside schema `helix`."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=_is_ours,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        context.run_migrations()


run(context.config.attributes["connection"])
