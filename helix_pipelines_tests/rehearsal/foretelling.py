"""An import and its rehearsal side by side, in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from helix_pipelines.embedding.generations import Generation, active_generation
from helix_pipelines.embedding.passages import recipe_for
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.rehearsal.embedding import EmbeddingTerms
from helix_pipelines.rehearsal.rehearsal import Rehearsal, rehearse
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.states import BatchState
from helix_pipelines_tests.stages import MODEL, Stages

FIGURES = (
    *("format", "encoding", "rows_read", "inserted", "updated", "unchanged", "duplicate", "quarantined"),
    *("conflicts", "vanished", "closed", "same_as", "notes"),
)


def rehearsed(stages: Stages, requests: Sequence[FileRequest], **settings: Any) -> Rehearsal:
    """What importing these files would do."""
    with psycopg.connect(stages.url, autocommit=True) as connection:
        known = terms(active_generation(connection))
        return rehearse(connection, requests, ParseLimits(), known, BatchSettings(**settings))


def terms(generation: Generation | None) -> EmbeddingTerms:
    """How the fake service embeds."""
    return EmbeddingTerms(
        recipe=generation.recipe if generation else recipe_for(MODEL),
        generation=generation.id if generation else None,
        max_texts=200,
        max_tokens=None,
        price=0.0,
        requests_per_minute=None,
        tokens_per_minute=None,
        texts_per_second=None,
    )


def foretold(rehearsal: Rehearsal) -> list[dict[str, Any]]:
    """The files of a rehearsal as `imported` has them."""
    return [
        {
            "path": file.request.path,
            "source": file.request.source,
            "error": (file.error.code, file.error.message) if file.error else None,
            **{name: getattr(file, name) for name in FIGURES},
        }
        for file in rehearsal.files
    ]


def begin(stages: Stages, requests: Sequence[FileRequest], **settings: Any) -> str:
    """Record a batch of these files; returns its partition key."""
    with stages.database.transaction() as connection:
        return create_batch(connection, "batch", requests, BatchSettings(**settings), state=BatchState.LAUNCHED)


def imported(stages: Stages, key: str) -> list[dict[str, Any]]:
    """What became of the files of a batch."""
    lines = stages.query(
        "SELECT j.*, s.name AS source FROM helix.import_job j JOIN helix.import_batch b ON b.id = j.batch_id"
        " JOIN helix.source s ON s.id = j.source_id"
        " WHERE b.partition_key = %s AND j.state <> 'unpacked' ORDER BY j.arrival",
        [key],
    )
    return [
        {
            "path": line["path"],
            "source": line["source"],
            "error": (line["error_code"], line["error_message"]) if line["error_code"] else None,
            **{name: line[name] for name in FIGURES},
        }
        for line in lines
    ]


def texts_tried(stages: Stages) -> int:
    """Texts that were sent so far, with a vector or a refusal for an answer."""
    return int(stages.query("SELECT count(*) AS texts FROM helix.embedding WHERE state <> 'pending'")[0]["texts"])


@contextmanager
def nothing_changed(url: str) -> Iterator[None]:
    """The rows of every table and the values of every sequence of the schema are those of before."""
    before = _contents(url)
    yield
    assert _contents(url) == before


def _contents(url: str) -> dict[str, Any]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'helix'::regnamespace AND c.relkind IN ('r', 'p')"
        ).fetchall()
        sums = {
            table["relname"]: connection.execute(
                sql.SQL("SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {} t").format(
                    sql.Identifier("helix", table["relname"])
                )
            ).fetchone()
            for table in tables
        }
        sequences = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'helix' ORDER BY 1"
        ).fetchall()
        return {"sequences": sequences, **sums}
