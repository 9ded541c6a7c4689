"""Embedding generations: a model, its dimensions and its text recipe; vectors of two generations are never mixed."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from helix_pipelines.embedding.passages import recipe_for
from helix_pipelines.resilience.errors import SetupError


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation's record; `open_segment` is where new vectors go, unindexed until it is sealed."""

    id: int
    model: str
    dimensions: int
    recipe: str
    open_segment: int


def active_generation(connection: psycopg.Connection) -> Generation | None:
    """The generation that is searched, None before the first import."""
    with connection.cursor(row_factory=class_row(Generation)) as cursor:
        return cursor.execute(
            "SELECT id, model, dimensions, recipe, open_segment FROM helix.embedding_generation WHERE status = 'active'"
        ).fetchone()


def ensure_generation(connection: psycopg.Connection, model: str, dimensions: int | None) -> Generation | None:
    """The active generation if it fits the settings, the first one if there is none yet.

    Returns None where a first generation would be needed but its dimensions are not known: ask the service, then call again.
    Raises SetupError (EMBEDDING_GENERATION_MISMATCH) for another model or size than the active generation's.
    """
    connection.execute("LOCK TABLE helix.embedding_generation IN SHARE ROW EXCLUSIVE MODE")
    active = active_generation(connection)
    if active is None:
        return None if dimensions is None else _first_generation(connection, model, dimensions)
    refuse_mismatch(active, model, dimensions)
    return active


def refuse_mismatch(active: Generation, model: str, dimensions: int | None) -> None:
    """Raise SetupError (EMBEDDING_GENERATION_MISMATCH) where the settings name another model or size than `active` has."""
    if active.model != model or (dimensions or active.dimensions) != active.dimensions:
        asked = f"{model} with {dimensions} dimensions" if dimensions else model
        raise SetupError(
            "EMBEDDING_GENERATION_MISMATCH",
            f"The knowledge base is embedded by {active.model} with {active.dimensions} dimensions, the settings name {asked}."
            f" Set HELIX_EMBEDDING_MODEL={active.model} (and _URL, _DIMENSIONS) back, or start with an empty database: vectors of"
            " two models cannot be compared.",
        )


def partition_name(generation_id: int) -> str:
    """Name of the partition of `helix.embedding` that holds a generation's vectors."""
    return f"embedding_g{generation_id}"


def _first_generation(connection: psycopg.Connection, model: str, dimensions: int) -> Generation:
    recipe = recipe_for(model)
    row = connection.execute(
        "INSERT INTO helix.embedding_generation (model, dimensions, recipe, status, activated_at)"
        " VALUES (%s, %s, %s, 'active', now()) RETURNING id",
        [model, dimensions, recipe],
    ).fetchone()
    assert row is not None
    connection.execute(
        sql.SQL("CREATE TABLE helix.{} PARTITION OF helix.embedding FOR VALUES IN ({})").format(
            sql.Identifier(partition_name(row[0])), sql.Literal(row[0])
        )
    )
    return Generation(row[0], model, dimensions, recipe, 0)
