"""The second phase: records are read in bounded chunks and staged in the ledger, with the checkpoint in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines.enrichment.categorize import categorizer
from helix_pipelines.enrichment.language import detect_language
from helix_pipelines.enrichment.normalize import match_keys, normalize
from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.confinement import ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import Reader
from helix_pipelines.parsing.reading import read_through, refuse_empty, refuse_endless
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.resilience.prefetch import prefetched
from helix_pipelines.serving.terms import terms
from helix_pipelines.storage.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from helix_pipelines.storage.copying import RAW, copy_rows, jsonb, presentable_text
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import (
    FileLine,
    ImportJob,
    discard_rows,
    file_lines,
    list_imports,
    reject_import,
)
from helix_pipelines.storage.leases import BatchWork, Place
from helix_pipelines.storage.states import ImportState
from helix_pipelines.storage.statistics import refresh_statistics

PHASE = "parsing"
CHUNKS_AHEAD = 1
"""Chunks that are read while PostgreSQL takes in the last one; each is held in memory."""
LEDGER_COLUMNS = (
    ("import_job_id", "int8"),
    ("ordinal", "int4"),
    ("row_number", "int4"),
    ("sheet", "text"),
    ("decision", "text"),
    ("code", "text"),
    ("reason", "text"),
    ("content_hash", RAW),
    ("question_key", RAW),
    ("external_key", RAW),
)
CONTENT_COLUMNS = (
    ("import_job_id", "int8"),
    ("ordinal", "int4"),
    ("question", "text"),
    ("answer", "text"),
    ("language", "text"),
    ("terms", "text"),
    ("external_id", "text"),
    ("category", "text"),
    ("url", "text"),
    ("extra", RAW),
    ("original", RAW),
    ("raw", RAW),
)
Categorizer = Callable[[str | None], str | None]


@dataclass(frozen=True, slots=True)
class ParseReport:
    """What was read: every file of the batch with its counters, and how long it took in seconds."""

    files: list[FileLine]
    rows_read: int
    quarantined: int
    seconds: float


def parse_batch(database: Database, batch: BatchWork, store: ContentStore, limits: ParseLimits) -> ParseReport:
    """Stage the rows of every stored file; one that turns out unreadable is rejected whole and leaves no rows."""
    started = monotonic()
    categorize = categorizer(batch.settings.category_map, batch.settings.default_category)
    with database.transaction() as connection:
        stored = list_imports(connection, batch.id, [ImportState.STORED])
    with closing(ReaderProcess()) as process:
        for job in stored:
            try:
                _parse_file(database, batch, job, store, limits, categorize, process)
            except FileRejectedError as error:
                reject_import(database, batch, job.id, error)
    with database.transaction() as connection:
        files = file_lines(connection, batch.id)
    return ParseReport(
        files, sum(file.rows_read for file in files), sum(file.quarantined for file in files), monotonic() - started
    )


def _parse_file(
    database: Database,
    batch: BatchWork,
    job: ImportJob,
    store: ContentStore,
    limits: ParseLimits,
    categorize: Categorizer,
    process: ReaderProcess,
) -> None:
    sniffed = msgspec.convert(job.dialect, Sniffed)
    sha256 = job.sha256
    assert sha256 is not None, "a stored file has a hash"
    request = ReadRequest(lambda: store.open(sha256), sniffed, limits, job.mapping, tuple(job.sheets))
    read_through(request, process, lambda reader: _stage_rows(database, batch, job, reader, limits, categorize))


def _stage_rows(
    database: Database,
    batch: BatchWork,
    job: ImportJob,
    reader: Reader,
    limits: ParseLimits,
    categorize: Categorizer,
) -> None:
    started = monotonic()
    batch.place = Place(job.id, job.path)
    done = _resume_point(database, batch, job, reader)
    is_last = False
    with prefetched(_chunks(job, reader, done, categorize), CHUNKS_AHEAD) as chunks:
        for chunk, is_last in _marking_last(chunks):
            batch.place = Place(job.id, job.path, done.records + 1, chunk.checkpoint.records)
            batch.commit(database, partial(_store_chunk, job=job, chunk=chunk, finished=reader if is_last else None))
            done = chunk.checkpoint
            refuse_endless(done.records, monotonic() - started, limits)
    refuse_empty(done.records)
    if not is_last:  # an earlier run had read it to its end
        batch.commit(database, partial(_finish, job=job, reader=reader))
    refresh_statistics(database, done.records, "import_row", "row_content")


@dataclass(frozen=True, slots=True)
class _Chunk:
    ledger: list[tuple[Any, ...]]
    content: list[tuple[Any, ...]]
    refused: int
    checkpoint: Checkpoint


def _chunks(job: ImportJob, reader: Reader, done: Checkpoint, categorize: Categorizer) -> Iterator[_Chunk]:
    """What is left of the file, ready to be stored."""
    for rows in reader.chunks(skip=done.records):
        ledger, content, refused = staged_rows(job.id, done.records, rows, categorize)
        done = Checkpoint(done.records + len(rows), done.chunk + 1, reader.version)
        del rows  # before the next ones are read, which then come to lie in memory that is still at hand
        yield _Chunk(ledger, content, refused, done)


def _marking_last(chunks: Iterator[_Chunk]) -> Iterator[tuple[_Chunk, bool]]:
    """Each chunk with whether it is the last one: with that the file is finished, in the same transaction."""
    chunk = next(chunks, None)
    while chunk is not None:
        following = next(chunks, None)
        yield chunk, following is None
        chunk = following


def _resume_point(database: Database, batch: BatchWork, job: ImportJob, reader: Reader) -> Checkpoint:
    """Where to go on; rows staged by another version of the reader are forgotten, as its records may be others."""
    with database.transaction() as connection:
        done = read_checkpoint(connection, job.id, PHASE)
    if done is not None and done.version == reader.version:
        return done
    if done is not None:
        batch.commit(database, partial(discard_rows, import_id=job.id))
    return Checkpoint(0, 0, reader.version)


def staged_rows(
    import_id: int, consumed: int, rows: Sequence[ParsedRow], categorize: Categorizer
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], int]:
    """Ledger lines and texts of a chunk, and how many of its records were refused."""
    ledger: list[tuple[Any, ...]] = []
    content: list[tuple[Any, ...]] = []
    refused = 0
    for ordinal, row in enumerate(rows, consumed + 1):
        place = (import_id, ordinal, row.row_number, row.sheet)
        if row.code is not None:
            refused += 1
            reason = presentable_text(row.reason or "")
            ledger.append((*place, "quarantine", row.code, reason, None, None, None))
            content.append((import_id, ordinal, *(None,) * 9, jsonb(row.raw)))
            continue
        question, answer = normalize(row.question), normalize(row.answer)
        keys = match_keys(question, answer, row.external_id)
        ledger.append((*place, "pending", None, None, *keys))
        searched = f"{question} {answer}"
        content.append(
            (
                import_id,
                ordinal,
                question,
                answer,
                detect_language(searched),
                " ".join(terms(searched)),
                row.external_id and presentable_text(row.external_id),
                categorize(row.category and presentable_text(row.category)),
                row.url and presentable_text(row.url),
                jsonb(row.extra),
                jsonb(_changed_by_normalisation(row, question, answer)),
                None,
            )
        )
    return ledger, content, refused


def _changed_by_normalisation(row: ParsedRow, question: str, answer: str) -> dict[str, str]:
    """The texts as the file had them, where normalisation changed them."""
    changed = {}
    if row.question != question:
        changed["question"] = row.question
    if row.answer != answer:
        changed["answer"] = row.answer
    return changed


def _store_chunk(connection: psycopg.Connection, job: ImportJob, chunk: _Chunk, finished: Reader | None) -> None:
    """Rows, counters and checkpoint; with the last chunk also what its reader found out about the file."""
    _copy(connection, chunk)
    connection.execute(
        "UPDATE helix.import_job SET rows_read = rows_read + %s, quarantined = quarantined + %s WHERE id = %s",
        [len(chunk.ledger), chunk.refused, job.id],
    )
    write_checkpoint(connection, job.id, PHASE, chunk.checkpoint)
    if finished is not None:
        _finish(connection, job, finished)


def _copy(connection: psycopg.Connection, chunk: _Chunk) -> None:
    tables: Iterable[tuple[str, tuple[tuple[str, str], ...], list[tuple[Any, ...]]]] = (
        ("helix.import_row", LEDGER_COLUMNS, chunk.ledger),
        ("helix.row_content", CONTENT_COLUMNS, chunk.content),
    )
    for table, columns, rows in tables:
        copy_rows(connection, table, columns, rows)


def _finish(connection: psycopg.Connection, job: ImportJob, reader: Reader) -> None:
    connection.execute(
        "UPDATE helix.import_job SET state = 'parsed', reader_version = %s, columns = %s, notes = %s WHERE id = %s",
        [reader.version, Jsonb(dict(reader.mapping)), Jsonb(msgspec.to_builtins(reader.notes)), job.id],
    )
