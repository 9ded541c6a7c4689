"""The third phase: the whole parsed file is matched to its source's earlier rows, and every row is decided upon.

Order matters and is the same for every import: equal content, then the owner's id, then the question where exactly one
is left on each side; what is left is new. Corrections of quarantined rows are told by their place before, and never continue a
row that another row of the corrected file stands for.

Each step works range by range, each range in a transaction with its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep

import psycopg

from helix_pipelines.enrichment.overtaking import (
    close_for_later,
    close_vanished,
    is_source_taken,
    match_anew_if_overtaken,
)
from helix_pipelines.enrichment.ranges import KeyRange, key_ranges
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.serving.terms import TERMS_VERSION
from helix_pipelines.storage.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import FileLine, ImportJob, file_lines, list_imports, reject_import
from helix_pipelines.storage.leases import BatchWork, Place
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.replays import carry_corrections
from helix_pipelines.storage.states import ImportState
from helix_pipelines.storage.statistics import ANALYZE_ROWS, refresh_statistics

RANGES_AT_ONCE = 2
"""Each on a connection of its own; more would only wait for the two cores that a small server has."""
POLL_SECONDS = 0.5
"""Between two looks at a source into which another run imports."""
VERSION = "1"
"""Of the matching rules; part of every checkpoint."""
Step = Callable[[psycopg.Connection, ImportJob, KeyRange], None]


@dataclass(frozen=True, slots=True)
class DecisionReport:
    """Rows per outcome over the batch, conflicts, earlier rows that vanished or were closed, and seconds taken."""

    files: list[FileLine]
    inserted: int
    updated: int
    unchanged: int
    duplicate: int
    quarantined: int
    conflicts: int
    vanished: int
    closed: int
    seconds: float


def decide_batch(database: Database, batch: BatchWork) -> DecisionReport:
    """Decide every parsed file of the batch, in arrival order."""
    started = monotonic()
    with database.transaction() as connection:
        parsed = list_imports(connection, batch.id, [ImportState.PARSED])
    for job in parsed:
        batch.place = Place(job.id, job.path)
        if job.same_as is None:
            _decide_file(database, batch, job)
    with database.transaction() as connection:
        files = file_lines(connection, batch.id)
        row = connection.execute(
            "SELECT coalesce(sum(inserted), 0), coalesce(sum(updated), 0), coalesce(sum(unchanged), 0),"
            " coalesce(sum(duplicate), 0), coalesce(sum(quarantined), 0), coalesce(sum(conflicts), 0),"
            " coalesce(sum(vanished), 0), coalesce(sum(closed), 0)"
            " FROM helix.import_job WHERE batch_id = %s",
            [batch.id],
        ).fetchone()
    assert row is not None
    inserted, updated, unchanged, duplicate, quarantined, conflicts, vanished, closed = row
    return DecisionReport(
        files=files,
        inserted=inserted,
        updated=updated,
        unchanged=unchanged,
        duplicate=duplicate,
        quarantined=quarantined,
        conflicts=conflicts,
        vanished=vanished,
        closed=closed,
        seconds=monotonic() - started,
    )


def _decide_file(database: Database, batch: BatchWork, job: ImportJob) -> None:
    undecided = _ranges_left(database, job, "decide")
    if _begin(database, batch, job, list(undecided.values())):
        for phase, step in MATCHING if job.replay_of is None else (MATCHING_BY_PLACE, *MATCHING):
            _run_step(database, batch, job, phase, step, _ranges_left(database, job, phase))
        try:
            if job.replay_of is None:
                limit = batch.settings.drop_limit if len(undecided) == len(key_ranges(job.rows_read)) else 1.0
                batch.commit(database, lambda connection: _check_vanished(connection, job, limit))
        except FileRejectedError as error:
            reject_import(database, batch, job.id, error)
            return
    _run_step(database, batch, job, "decide", _decide_range, undecided)
    if job.rows_read >= ANALYZE_ROWS:
        refresh_statistics(database, job.rows_read, "import_row")
        refresh_statistics(database, _changed_rows(database, job), "qa_pair", "occurrence")
    if job.mode == "sync":
        batch.commit(database, lambda connection: close_vanished(connection, job.id, job.source_id))


def _run_step(
    database: Database, batch: BatchWork, job: ImportJob, phase: str, step: Step, left: Mapping[int, KeyRange]
) -> None:
    """Run a step over the ranges that are `left`, some at a time: they share no key and no outcome."""

    def work(connection: psycopg.Connection, index: int) -> None:
        step(connection, job, left[index])
        write_checkpoint(connection, job.id, f"{phase}/{index}", Checkpoint(job.rows_read, index + 1, VERSION))

    def commit(index: int) -> None:
        batch.heed()  # all ranges are in the pool already: the others end here once one has been stopped
        batch.commit(database, lambda connection: work(connection, index))

    with ThreadPoolExecutor(RANGES_AT_ONCE, thread_name_prefix=phase) as pool:
        for _ in pool.map(commit, left):
            pass


def _changed_rows(database: Database, job: ImportJob) -> int:
    with database.transaction() as connection:
        row = connection.execute("SELECT inserted + updated FROM helix.import_job WHERE id = %s", [job.id]).fetchone()
    return int(row[0]) if row else 0


def _ranges_left(database: Database, job: ImportJob, phase: str) -> dict[int, KeyRange]:
    """The ranges in which a step has not been committed, by their index."""
    with database.transaction() as connection:
        return {
            index: keys
            for index, keys in enumerate(key_ranges(job.rows_read))
            if not read_checkpoint(connection, job.id, f"{phase}/{index}")
        }


def _begin(database: Database, batch: BatchWork, job: ImportJob, undecided: list[KeyRange]) -> bool:
    """Wait for the file's turn and make the matching that there is fit for what has happened since; whether there is anything to
    match.
    """

    def begin(connection: psycopg.Connection) -> bool | None:
        if is_source_taken(connection, job):
            return None
        match_anew_if_overtaken(connection, job, undecided)
        return _has_earlier_rows(connection, job)

    while (earlier := batch.commit(database, begin)) is None:
        sleep(POLL_SECONDS)
    return earlier


def _has_earlier_rows(connection: psycopg.Connection, job: ImportJob) -> bool:
    """Whether the source had rows before; they are looked for once, as an import's own rows are no reason to match."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM helix.occurrence WHERE source_id = %s AND import_job_id <> %s)",
        [job.source_id, job.id],
    ).fetchone()
    return bool(row and row[0])


def _parameters(job: ImportJob, keys: KeyRange) -> dict[str, object]:
    return {
        "job": job.id,
        "source": job.source_id,
        "replay_of": job.replay_of,
        "collection": job.collection_id,
        "low": keys.low,
        "high": keys.high,
        "derived_version": TERMS_VERSION,
    }


def _match_place(connection: psycopg.Connection, job: ImportJob, keys: KeyRange) -> None:
    connection.execute(load("replay_match"), _parameters(job, keys))


def _match_content(connection: psycopg.Connection, job: ImportJob, keys: KeyRange) -> None:
    matched = connection.execute(load("match_content"), _parameters(job, keys)).rowcount
    connection.execute("UPDATE helix.import_job SET unchanged = unchanged + %s WHERE id = %s", [matched, job.id])


def _match_external(connection: psycopg.Connection, job: ImportJob, keys: KeyRange) -> None:
    connection.execute(load("match_external"), _parameters(job, keys))


def _match_question(connection: psycopg.Connection, job: ImportJob, keys: KeyRange) -> None:
    connection.execute(load("match_question"), _parameters(job, keys))


MATCHING_BY_PLACE: tuple[str, Step] = ("match_place", _match_place)
MATCHING: tuple[tuple[str, Step], ...] = (
    ("match_content", _match_content),
    ("match_external", _match_external),
    ("match_question", _match_question),
)


def _check_vanished(connection: psycopg.Connection, job: ImportJob, limit: float) -> None:
    """Count the earlier rows that the file no longer has, once, before anything changes. Those that the file has in a form
    that was refused and corrected before are still there.

    Raises SYNC_DROP_LIMIT where `sync` would close more than this share of them: all, once a part of the file has been decided.
    """
    if read_checkpoint(connection, job.id, "vanished"):
        return
    carry_corrections(connection, job.id, job.source_id)
    row = connection.execute(load("vanished"), {"job": job.id, "source": job.source_id}).fetchone()
    assert row is not None
    vanished, earlier = row
    if job.mode == "sync":
        refuse_large_drop(vanished, earlier, limit)
    connection.execute("UPDATE helix.import_job SET vanished = %s WHERE id = %s", [vanished, job.id])
    write_checkpoint(connection, job.id, "vanished", Checkpoint(job.rows_read, 1, VERSION))


def refuse_large_drop(vanished: int, earlier: int, limit: float) -> None:
    """Raise FileRejectedError (SYNC_DROP_LIMIT) where more than this share of a source's earlier rows would be closed."""
    if vanished > limit * earlier:
        raise FileRejectedError(
            "SYNC_DROP_LIMIT",
            f"{vanished:,} of the source's {earlier:,} rows are not in this file, more than the limit of {limit:.0%}. Nothing was"
            " changed. If the rows are to go, import with a higher drop limit; if they are to stay, import with --mode append.",
        )


def _decide_range(connection: psycopg.Connection, job: ImportJob, keys: KeyRange) -> None:
    parameters = _parameters(job, keys)
    for statement in ("insert_pairs", "decide_rows", "open_occurrences"):
        connection.execute(load(statement), parameters)
    counts = connection.execute(load("count_range"), parameters).fetchone()
    assert counts is not None
    connection.execute(
        "UPDATE helix.import_job SET inserted = inserted + %s, updated = updated + %s, duplicate = duplicate + %s,"
        " conflicts = conflicts + %s WHERE id = %s",
        [*counts, job.id],
    )
    close_for_later(connection, job)
