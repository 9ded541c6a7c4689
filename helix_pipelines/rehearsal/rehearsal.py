"""An import that is not done: every file read, every row decided, what the embedding would cost, and nothing changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from helix_pipelines import __version__
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.confinement import ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.rehearsal.decisions import Decisions, decide
from helix_pipelines.rehearsal.embedding import EmbeddingEstimate, EmbeddingTerms, collect_needs, estimate
from helix_pipelines.rehearsal.intake import Candidate, candidates
from helix_pipelines.rehearsal.scratch import Scratch
from helix_pipelines.rehearsal.staging import stage
from helix_pipelines.resilience.errors import FileRejectedError, HelixError
from helix_pipelines.storage.batches import BatchSettings, FileRequest

ROWS_SHOWN = 5
"""Refused rows of a file that are named for each code."""
Watch = Callable[[str, int], None]
"""Told the path of the file that is being read and how many of its rows have been."""


@dataclass(frozen=True, slots=True)
class FileForecast:
    """What would become of one file. `error` says why it would be rejected; the counters are zero then.

    `same_as` is the latest import of the source where that read the same bytes in the same way: nothing would be read.
    `quarantine` has a line for each code: how many rows, the first row numbers, and the reason of the first one.
    """

    request: FileRequest
    format: str | None = None
    encoding: str | None = None
    error: HelixError | None = None
    same_as: int | None = None
    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    quarantined: int = 0
    conflicts: int = 0
    vanished: int = 0
    closed: int = 0
    notes: list[Any] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """In one word."""
        if self.error is not None:
            return "rejected"
        return "would_import" if self.same_as is None else "unchanged"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The files in the order of their arrival, members standing for their archives, and what embedding would take."""

    files: list[FileForecast]
    embedding: EmbeddingEstimate


def rehearse(
    connection: psycopg.Connection,
    requests: Sequence[FileRequest],
    limits: ParseLimits,
    terms: EmbeddingTerms,
    settings: BatchSettings,
    *,
    has_schema: bool = True,
    watch: Watch = lambda _path, _rows: None,
) -> Rehearsal:
    """Find out what importing these files now, as one batch, would do.

    `connection` is in autocommit mode; its session can write to nothing but its temporary tables afterwards. Files whose sources
    other batches are importing at the moment are judged by what those have committed.
    """
    scratch = Scratch(connection, has_schema=has_schema)
    with tempfile.TemporaryDirectory(prefix="helix-dry-run-") as folder, closing(ReaderProcess()) as process:
        run = _Run(scratch, limits, terms, settings, process, watch)
        unpacked = ContentStore(Path(folder).as_uri())
        files = [run.forecast(number, file) for number, file in enumerate(candidates(requests, unpacked, limits))]
    return Rehearsal(files, estimate(scratch, terms))


@dataclass(frozen=True, slots=True)
class _Run:
    scratch: Scratch
    limits: ParseLimits
    terms: EmbeddingTerms
    settings: BatchSettings
    process: ReaderProcess
    watch: Watch

    def forecast(self, number: int, file: Candidate) -> FileForecast:
        if file.error is not None:
            return FileForecast(file.request, error=file.error)
        assert file.sniffed is not None
        known: dict[str, Any] = {"format": file.sniffed.format, "encoding": file.sniffed.encoding}
        collection, source = self.scratch.place(file.request.collection, file.request.source)
        same = self._same(file, source)
        if same is not None:
            collect_needs(self.scratch, number, collection, same["same_as"], self.terms)
            return FileForecast(file.request, **known, **same, quarantine=self._refusals(number, same["same_as"]))
        try:
            read, decisions = self._decided(number, file, (collection, source))
        except FileRejectedError as error:
            self.scratch.forget(number)
            return FileForecast(file.request, **known, error=error)
        collect_needs(self.scratch, number, collection, None, self.terms)
        return FileForecast(file.request, **known, **read, **asdict(decisions), quarantine=self._refusals(number))

    def _same(self, file: Candidate, source: int) -> dict[str, Any] | None:
        """Counters of the latest import of the source, if this file is the same once more."""
        assert file.mark is not None
        assert file.sniffed is not None
        asked = file.request
        same = self.scratch.one(
            "rehearse_same",
            {
                "source": source,
                "sha256": file.mark.sha256,
                "mapping": Jsonb(dict(asked.mapping)),
                "sheets": Jsonb(list(asked.sheets)),
                "mode": asked.mode,
                "encoding": file.sniffed.encoding,
                "version": __version__,
            },
        )
        if same is None:
            return None
        read, refused = same["rows_read"], same["quarantined"]
        return {
            "same_as": same["id"],
            "rows_read": read,
            "unchanged": read - refused,
            "quarantined": refused,
            "notes": same["notes"],
        }

    def _decided(self, number: int, file: Candidate, place: tuple[int, int]) -> tuple[dict[str, Any], Decisions]:
        asked = file.request
        assert file.sniffed is not None
        assert file.source is not None
        request = ReadRequest(file.source, file.sniffed, self.limits, asked.mapping, asked.sheets)
        staged = stage(
            self.scratch,
            number,
            request,
            self.terms.recipe,
            self.process,
            lambda rows: self.watch(asked.path, rows),
        )
        decisions = decide(self.scratch, number, place, asked.mode, self.settings.drop_limit)
        self.scratch.refresh_statistics(staged.records)
        notes = msgspec.to_builtins(staged.notes)
        return {"rows_read": staged.records, "quarantined": staged.refused, "notes": notes}, decisions

    def _refusals(self, number: int, same_as: int | None = None) -> list[dict[str, Any]]:
        if same_as is not None:
            self.scratch.run("rehearse_same_refusals", {"file": number, "same_as": same_as})
        return self.scratch.all("rehearse_refusals", {"file": number, "shown": ROWS_SHOWN})
