"""`helix import --dry-run`: what the import would do to the knowledge base, in figures and words, and nothing is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from helix_pipelines.cli.connection import connect
from helix_pipelines.cli.output import ExitCode, one_line, paragraphs, table
from helix_pipelines.settings import Settings
from helix_pipelines.storage.batches import BatchSettings, FileRequest

if TYPE_CHECKING:
    from helix_pipelines.instance.services import EmbeddingEndpoint
    from helix_pipelines.rehearsal.embedding import EmbeddingTerms
    from helix_pipelines.rehearsal.rehearsal import FileForecast, Rehearsal
    from helix_pipelines.resilience.gate_limits import GateLimits

COUNTERS = (
    "rows_read",
    "inserted",
    "updated",
    "unchanged",
    "duplicate",
    "quarantined",
    "conflicts",
    "vanished",
    "closed",
)
QUIET_SECONDS = 2.0
"""What takes no longer needs no progress shown."""
MINUTE, HOUR = 60, 3600


def rehearse_import(settings: Settings, requests: Sequence[FileRequest]) -> dict[str, Any]:
    """What importing the files would do, as the command's JSON document. The database is started if need be, and only read.

    Raises SetupError: what starting the database names, SCHEMA_OUTDATED, SCHEMA_TOO_NEW, EMBEDDING_GENERATION_MISMATCH,
    EMBEDDING_URL_MISSING.
    """
    from helix_pipelines.instance.services import database
    from helix_pipelines.parsing.limits import ParseLimits
    from helix_pipelines.rehearsal.rehearsal import rehearse
    from helix_pipelines.storage.schema import current_revision, ensure_schema

    chosen = BatchSettings()
    with database(settings, may_change=False) as url, connect(url) as connection, _progress() as watch:
        has_schema = current_revision(connection) is not None
        if has_schema:
            ensure_schema(url)  # which refuses another version's
        terms = _terms(connection, settings, chosen, has_schema=has_schema)
        limits = ParseLimits.from_settings(settings)
        found = rehearse(connection, requests, limits, terms, chosen, has_schema=has_schema, watch=watch)
    return _document(found)


def dry_run_code(report: dict[str, Any], *, strict: bool) -> ExitCode:
    """How the command ends: as the import would for refused files and rows."""
    refused = any(file["status"] == "rejected" or file["quarantined"] for file in report["imports"])
    return ExitCode.INPUT_REFUSED if strict and refused else ExitCode.DONE


def dry_run_text(report: dict[str, Any]) -> str:
    """The same for people: what would happen, to whom that is to be said first, and that it has not."""
    files = report["imports"]
    headings = ["source", "would be", *(name.replace("_", " ") for name in COUNTERS)]
    words = {"would_import": "imported", "unchanged": "left alone", "rejected": "rejected"}
    lines = [[file["source"], words[file["status"]], *(file[name] for name in COUNTERS)] for file in files]
    parts = [
        "Dry run: this is what the import would do. Nothing was changed, stored or sent.",
        table(headings, lines),
        *("\n".join(remarks) for remarks in _remarks(files) if remarks),
        _costs(report),
    ]
    return paragraphs(parts)


def _terms(
    connection: psycopg.Connection, settings: Settings, chosen: BatchSettings, *, has_schema: bool
) -> EmbeddingTerms:
    """How the settings and the knowledge base have texts embedded; no service is asked."""
    from helix_pipelines.embedding.batching import BatchSizer
    from helix_pipelines.embedding.generations import active_generation, refuse_mismatch
    from helix_pipelines.embedding.passages import recipe_for
    from helix_pipelines.instance.services import LOCAL_TEXT_SECONDS, planned_endpoint
    from helix_pipelines.rehearsal.embedding import EmbeddingTerms

    endpoint = planned_endpoint(settings)
    generation = active_generation(connection) if has_schema else None
    if generation is not None:
        refuse_mismatch(generation, endpoint.model, endpoint.dimensions)
    told = endpoint.limits(settings)
    sizer = BatchSizer(
        deadline=settings.batch_timeout,
        cap=min(chosen.max_texts_per_request, endpoint.max_texts or chosen.max_texts_per_request),
        requests_per_minute=told.requests_per_minute,
        tokens_per_minute=told.tokens_per_minute,
    )
    limits = _limits_in_force(connection, endpoint, told) if has_schema else _limits_of_settings(told)
    at_once = min(limits["concurrency"], os.cpu_count() or 1)
    return EmbeddingTerms(
        recipe=generation.recipe if generation else recipe_for(endpoint.model),
        generation=generation.id if generation else None,
        max_texts=sizer.texts,
        max_tokens=sizer.max_tokens,
        price=settings.price(endpoint.model),
        requests_per_minute=limits["requests"],
        tokens_per_minute=limits["tokens"],
        texts_per_second=at_once / LOCAL_TEXT_SECONDS if endpoint.is_own else None,
    )


def _limits_in_force(connection: psycopg.Connection, endpoint: EmbeddingEndpoint, told: GateLimits) -> dict[str, Any]:
    """The settings' limits, or those that an operator or the service itself gave the gate."""
    from helix_pipelines.storage.queries import load

    settings = {
        "requests_per_minute": told.requests_per_minute,
        "tokens_per_minute": told.tokens_per_minute,
        "max_concurrency": told.max_concurrency,
        "period_seconds": told.period_seconds,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        limits = cursor.execute(
            load("rehearse_limits"), {"key": endpoint.gate_key, "settings": Jsonb(settings)}
        ).fetchone()
    assert limits is not None
    return limits


def _limits_of_settings(told: GateLimits) -> dict[str, Any]:
    return {
        "requests": told.requests_per_minute,
        "tokens": told.tokens_per_minute,
        "concurrency": told.max_concurrency,
    }


def _document(found: Rehearsal) -> dict[str, Any]:
    api = asdict(found.embedding)
    seconds = api.pop("seconds")
    return {
        "dry_run": True,
        "imports": [_file(file) for file in found.files],
        "api": api,
        "seconds": None if seconds is None else round(seconds, 1),
    }


def _file(file: FileForecast) -> dict[str, Any]:
    error = file.error
    return {
        "path": file.request.path,
        "source": file.request.source,
        "collection": file.request.collection,
        "status": file.status,
        "error": None if error is None else {"code": error.code, "message": error.message},
        "same_as": file.same_as,
        "format": file.format,
        "encoding": file.encoding,
        **{name: getattr(file, name) for name in COUNTERS},
        "notes": file.notes,
        "quarantine": file.quarantine,
    }


def _remarks(files: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    yield [f"{one_line(f['source'])}: {f['error']['code']}: {f['error']['message']}" for f in files if f["error"]]
    yield [
        f"{one_line(f['source'])}: {line['count']:,} x {line['code']} (row {', '.join(map(str, line['rows']))}"
        f"{', ...' if line['count'] > len(line['rows']) else ''}): {line['reason']}"
        for f in files
        for line in f["quarantine"]
    ]
    yield [
        f"{one_line(f['source'])}: the same bytes as import {f['same_as']}; nothing would be read."
        for f in files
        if f["same_as"]
    ]
    yield [f"{one_line(f['source'])}: {note['code']}: {note['message']}" for f in files for note in f["notes"]]


def _costs(report: dict[str, Any]) -> str:
    api = report["api"]
    if not api["texts"]:
        return "No text would be embedded."
    cost = f", cost {api['cost']:,.4g}" if api["cost"] else ""
    seconds = report["seconds"]
    lasts = "" if seconds is None else f" Within the limits that takes about {_duration(seconds)}."
    usage = f"in {api['requests']:,} requests (about {api['tokens']:,} tokens{cost})"
    return f"{api['texts']:,} texts would be embedded {usage}.{lasts}"


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:,.0f} s"
    return f"{seconds / MINUTE:,.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:,.1f} h"


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Shows what is being read where a person watches stderr and it takes a while."""
    if not sys.stderr.isatty():
        yield lambda _path, _rows: None
        return
    from rich.console import Console
    from rich.markup import escape

    began = time.monotonic()
    with Console(stderr=True) as console:
        status = console.status("")

        def watch(path: str, rows: int) -> None:
            if time.monotonic() - began > QUIET_SECONDS:
                status.update(f"dry run: {escape(one_line(os.path.basename(path)))}, {rows:,} rows read")  # noqa: PTH119
                status.start()

        try:
            yield watch
        finally:
            status.stop()
