"""A file's rows with the keys by which they are matched, in the tables of the rehearsal; no text is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from helix_pipelines.embedding.batching import estimate_tokens
from helix_pipelines.embedding.passages import passages, text_hash
from helix_pipelines.enrichment.normalize import match_keys, normalize
from helix_pipelines.parsing.confinement import ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.readers import Reader
from helix_pipelines.parsing.reading import read_through, refuse_empty, refuse_endless
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.staging import LEDGER_COLUMNS
from helix_pipelines.rehearsal.scratch import Scratch
from helix_pipelines.resilience.prefetch import prefetched
from helix_pipelines.storage.copying import RAW, jsonb, presentable_text

ROW_COLUMNS = (("file", "int4"), *LEDGER_COLUMNS[1:])
REFUSAL_COLUMNS = (("file", "int4"), ("ordinal", "int4"), ("raw", RAW))
TEXT_COLUMNS = (("file", "int4"), ("ordinal", "int4"), ("text_hash", RAW), ("tokens", "int4"))
CHUNKS_AHEAD = 1
"""Chunks that are read while PostgreSQL takes in the last one."""
Watch = Callable[[int], None]
"""Told how many rows of the file have been read."""


@dataclass(slots=True)
class Staged:
    """How many records a file has and how many are refused, and what its reader left out."""

    records: int = 0
    refused: int = 0
    notes: list[Note] = field(default_factory=list)


def stage(
    scratch: Scratch, file: int, request: ReadRequest, recipe: str, process: ReaderProcess, watch: Watch
) -> Staged:
    """Read a file to its end. Raises FileRejectedError as an import does; then, as after it, nothing of the file is left."""
    staged = Staged()

    def read(reader: Reader) -> None:
        nonlocal staged
        scratch.forget(file)  # a reader that was killed may have come halfway
        staged = Staged(notes=reader.notes)
        _stage_rows(scratch, file, reader, recipe, request.limits, staged, watch)

    read_through(request, process, read)
    scratch.refresh_statistics(staged.records)
    return staged


def _stage_rows(
    scratch: Scratch,
    file: int,
    reader: Reader,
    recipe: str,
    limits: ParseLimits,
    staged: Staged,
    watch: Watch,
) -> None:
    started = monotonic()
    with prefetched(_chunks(file, reader, recipe), CHUNKS_AHEAD) as chunks:
        for chunk in chunks:
            scratch.append("rehearsed_row", ROW_COLUMNS, chunk.rows)
            scratch.append("rehearsed_refusal", REFUSAL_COLUMNS, chunk.refusals)
            scratch.append("rehearsed_text", TEXT_COLUMNS, chunk.texts)
            staged.records += len(chunk.rows)
            staged.refused += len(chunk.refusals)
            refuse_endless(staged.records, monotonic() - started, limits)
            watch(staged.records)
    refuse_empty(staged.records)


@dataclass(slots=True)
class _Chunk:
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    refusals: list[tuple[Any, ...]] = field(default_factory=list)
    texts: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, file: int, ordinal: int, row: ParsedRow, recipe: str) -> None:
        place = (file, ordinal, row.row_number, row.sheet)
        if row.code is not None:
            self.rows.append((*place, "quarantine", row.code, presentable_text(row.reason or ""), None, None, None))
            self.refusals.append((file, ordinal, jsonb(row.raw)))
            return
        question, answer = normalize(row.question), normalize(row.answer)
        self.rows.append((*place, "pending", None, None, *match_keys(question, answer, row.external_id)))
        for body in passages(question, answer, recipe):
            self.texts.append((file, ordinal, text_hash(body).bytes, estimate_tokens(body)))


def _chunks(file: int, reader: Reader, recipe: str) -> Iterator[_Chunk]:
    ordinal = 0
    for rows in reader.chunks():
        chunk = _Chunk()
        for ordinal, row in enumerate(rows, ordinal + 1):  # noqa: B020 - goes on where the last chunk ended
            chunk.add(file, ordinal, row, recipe)
        yield chunk
