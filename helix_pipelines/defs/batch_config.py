"""What a person may choose for a batch in Dagster's launchpad."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg
import psycopg
from psycopg.types.json import Jsonb
from pydantic import Field

from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import BatchWork


class BatchConfig(dg.Config):
    """Choices for one import batch. What is left out stays as it was when the batch was made."""

    category_map: dict[str, str] | None = Field(
        default=None,
        description="Category as the files have it (upper and lower case are the same) -> category in the knowledge base.",
    )
    default_category: str | None = Field(
        default=None, min_length=1, max_length=200, description="The category of rows that name none."
    )
    drop_limit: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="`sync` rejects a file in which a larger share (0..1) of its source's rows is missing.",
    )
    max_texts_per_request: int | None = Field(
        default=None, ge=1, le=2048, description="The most texts that are sent to the embedding service at once."
    )

    def chosen(self) -> dict[str, Any]:
        """The fields that were filled in."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def over(self, settings: BatchSettings) -> BatchSettings:
        """`settings` with what was chosen here in place of what it has."""
        return replace(settings, **self.chosen())


def choose(database: Database, batch: BatchWork, config: BatchConfig) -> None:
    """Store what was chosen with the batch, so that every later phase and every re-execution works by the same choices."""
    settings = config.over(batch.settings)
    if settings == batch.settings:
        return

    def store(connection: psycopg.Connection) -> None:
        connection.execute(
            "UPDATE helix.import_batch SET config = %s WHERE id = %s", [Jsonb(settings.to_json()), batch.id]
        )

    batch.commit(database, store)
    batch.settings = settings
