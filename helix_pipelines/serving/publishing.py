"""The last phase: a batch is closed once its ledger adds up and every text of it has a vector or a named failure."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import psycopg

from helix_pipelines.resilience.errors import PhaseError
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import FileLine, file_lines
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.replays import complete_replays
from helix_pipelines.storage.transactions import run_chunk

MERGE_TERMS = "SELECT gin_clean_pending_list('helix.ix_qa_pair_search')"
"""Merges what was added to the full text index since the last time, so that no search has to scan it as a list."""


@dataclass(frozen=True, slots=True)
class PublishReport:
    """State of the knowledge base after the batch: searchable pairs and stale ones over all collections, seconds taken."""

    files: list[FileLine]
    searchable_pairs: int
    stale_rows: int
    failed_texts: int
    seconds: float


def publish_batch(database: Database, batch: BatchWork) -> PublishReport:
    """Close the batch's imports and the batch itself.

    Raises PhaseError, and closes nothing: FILES_NOT_READ where rows of a file have not been decided, LEDGER_MISMATCH where
    counters and ledger differ, EMBEDDINGS_PENDING where texts have neither vector nor failure yet.
    """
    started = monotonic()
    run_chunk(database, lambda connection: _close(connection, batch))
    batch.lease.end()
    run_chunk(database, _merge_terms)
    with database.transaction() as connection:
        figures = connection.execute(load("knowledge_base_figures")).fetchone()
        files = file_lines(connection, batch.id)
    assert figures is not None
    searchable, stale, failed = figures
    return PublishReport(files, searchable, stale, failed, monotonic() - started)


@contextmanager
def merging_terms(database: Database) -> Iterator[None]:
    """Merge the terms of decided pairs beside the block, which mostly waits for a service: 4 s of work for 100,000 pairs."""
    with ThreadPoolExecutor(1, thread_name_prefix="merge-terms") as pool:
        merging = pool.submit(run_chunk, database, _merge_terms)
        yield
        merging.result()


def _merge_terms(connection: psycopg.Connection) -> None:
    connection.execute(MERGE_TERMS)


def _close(connection: psycopg.Connection, batch: BatchWork) -> None:
    unread = connection.execute(load("unread_files"), {"batch": batch.id}).fetchone()
    if unread and unread[0]:
        raise PhaseError(
            "serving",
            "FILES_NOT_READ",
            f"{unread[0]:,} files of the batch, {unread[1]} first, are not read and decided yet: materialize its"
            " source_files, parsed_rows, qa_pairs and embeddings before.",
            recoverable=True,
        )
    mismatch = connection.execute(load("verify_ledger_adds_up"), {"batch": batch.id}).fetchone()
    if mismatch and mismatch[0]:
        raise PhaseError(
            "serving",
            "LEDGER_MISMATCH",
            f"The counters of {mismatch[1]} do not agree with its ledger. Keep the database as it is and run `helix verify`.",
            recoverable=False,
        )
    pending = connection.execute(load("unfinished_texts"), {"batch": batch.id}).fetchone()
    if pending and pending[0]:
        raise PhaseError(
            "serving",
            "EMBEDDINGS_PENDING",
            f"{pending[0]:,} texts of the batch have no vector yet: materialize its embeddings first.",
            recoverable=True,
        )
    connection.execute(load("complete_imports"), {"batch": batch.id})
    complete_replays(connection, batch.id)
    batch.lease.fence(connection)
    connection.execute(
        "UPDATE helix.import_batch SET state = 'done', finished_at = clock_timestamp(), lease_token = NULL,"
        " lease_expires_at = NULL, holder = NULL, stop_requested = NULL, fruitless = 0 WHERE id = %s",
        [batch.id],
    )
