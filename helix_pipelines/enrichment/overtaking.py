"""Imports of a source that are decided in another order than they arrived in, as one of them was paused or failed half-way.

The later arrival counts, whichever is finished first. For that, one living run at a time matches and decides a file of a source,
what was matched and not decided is matched anew once another import of the source was decided, and a `sync` import closes the
rows of an earlier one that come after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from helix_pipelines.enrichment.ranges import KeyRange
from helix_pipelines.storage.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from helix_pipelines.storage.imports import ImportJob
from helix_pipelines.storage.queries import load

VERSION = "1"
MATCHED_AGAINST = "matched_against"
"""Checkpoint whose `records` say how much of the source's other imports was decided when the matching began."""
CLOSED = "closed"
"""Checkpoint of a `sync` import that has closed what its file no longer has."""


def is_source_taken(connection: psycopg.Connection, job: ImportJob) -> bool:
    """Whether a run of another batch is deciding a file of the source just now. If not, this one has it once the caller's
    transaction, which has to call `match_anew_if_overtaken`, is committed.

    Both would find the same earlier rows otherwise, and each bring in a row of its own for what is new.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('helix.source', %s))", [job.source_id])
    row = connection.execute(
        load("source_is_taken"),
        {"source": job.source_id, "batch": job.batch_id, "matched_against": MATCHED_AGAINST, "closed": CLOSED},
    ).fetchone()
    return bool(row and row[0])


def match_anew_if_overtaken(connection: psycopg.Connection, job: ImportJob, undecided: Sequence[KeyRange]) -> None:
    """Take back what was matched in the `undecided` ranges if another import of the source was decided since."""
    row = connection.execute(load("decided_of_others"), {"job": job.id, "source": job.source_id}).fetchone()
    assert row is not None
    begun = read_checkpoint(connection, job.id, MATCHED_AGAINST)
    write_checkpoint(connection, job.id, MATCHED_AGAINST, Checkpoint(row[0], 1, VERSION))
    if begun is None or begun.records == row[0]:
        return
    for keys in undecided:
        connection.execute(load("unmatch_range"), {"job": job.id, "low": keys.low, "high": keys.high})
    connection.execute(load("unmatch_import"), {"job": job.id})


def close_vanished(connection: psycopg.Connection, import_id: int, source_id: int) -> None:
    """`sync`: close the rows of earlier imports that this one's file no longer has."""
    closed = connection.execute(load("close_vanished"), {"job": import_id, "source": source_id}).rowcount
    connection.execute("UPDATE helix.import_job SET closed = closed + %s WHERE id = %s", [closed, import_id])
    write_checkpoint(connection, import_id, CLOSED, Checkpoint(closed, 1, VERSION))


def close_for_later(connection: psycopg.Connection, job: ImportJob) -> None:
    """Close what this import has opened although a later `sync` import does not have it, in that one's name."""
    for (later,) in connection.execute(load("later_syncs"), {"job": job.id, "source": job.source_id, "closed": CLOSED}):
        close_vanished(connection, later, job.source_id)
