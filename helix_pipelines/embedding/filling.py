"""The fourth phase: every text of a batch gets its vector, once a generation, whoever needs it and whoever pays."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import psycopg

from helix_pipelines.embedding.batching import BatchSizer, plan_batches
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.generations import Generation, partition_name
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import PendingTexts, Text
from helix_pipelines.resilience.drain import Outcome, drain
from helix_pipelines.resilience.errors import GlobalError, LimitedError, PhaseError, TransientError
from helix_pipelines.resilience.prefetch import prefetched
from helix_pipelines.storage.copying import RAW, copy_rows
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import ImportJob, list_imports
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import ImportState
from helix_pipelines.storage.statistics import refresh_statistics
from helix_pipelines.storage.transactions import run_chunk

SERVICE = "embedding"
WINDOWS_AHEAD = 1
"""Windows of claimed texts beyond those being sent: the next one is opened while vectors of the last one are stored."""
VECTOR_COLUMNS = (("text_hash", "uuid"), ("vector", RAW), ("tokens", "int4"))
Arrived = Outcome[Text, EmbeddingReply]


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """What it took: texts embedded now, texts known before, requests and tokens paid, texts failed and pending, seconds."""

    texts: int
    cached: int
    requests: int
    tokens: int
    failed: int
    pending: int
    seconds: float


def embed_batch(
    database: Database,
    batch: BatchWork,
    client: EmbeddingClient,
    generation: Generation,
    *,
    concurrency: int,
    batch_timeout: float,
    max_texts: int | None = None,
    patience: float = 3600.0,
) -> EmbeddingReport:
    """Embed what the batch's accepted rows need and serve each pair in the transaction that stores its last vector.

    A text that the service refuses is marked failed with code and message; the others go on. Raises PhaseError: not
    recoverable where an operator has to act (key, quota, model), recoverable where the service is down; what arrived
    before is stored.
    """
    started = monotonic()
    with database.transaction() as connection:
        imports = list_imports(connection, batch.id, [ImportState.PARSED])
    filling = _Filling(
        database, batch, client, generation, PendingTexts(database, batch, imports, generation, patience)
    )
    chosen = batch.settings.max_texts_per_request
    sizer = BatchSizer(cap=min(chosen, max_texts) if max_texts else chosen)
    try:
        with prefetched(iter(filling.pending), WINDOWS_AHEAD) as windows:
            drain(
                filling.batches(windows, sizer),
                filling.call,
                filling.store,
                concurrency=concurrency,
                batch_timeout=batch_timeout,
            )
    except GlobalError as error:
        raise PhaseError("embedding", error.code, error.message, recoverable=False) from error
    except (TransientError, LimitedError) as error:
        raise PhaseError("embedding", error.code, error.message, recoverable=True) from error
    refresh_statistics(database, filling.embedded, "passage", partition_name(generation.id))
    texts, failed, pending = _text_states(database, imports, generation)
    return EmbeddingReport(
        filling.embedded,
        texts - failed - pending - filling.embedded,
        filling.requests,
        filling.tokens,
        failed,
        pending,
        monotonic() - started,
    )


class _Filling:
    """The three things that the drain asks of a phase: batches to send, a call, and a store."""

    def __init__(
        self,
        database: Database,
        batch: BatchWork,
        client: EmbeddingClient,
        generation: Generation,
        pending: PendingTexts,
    ) -> None:
        self._database = database
        self._batch = batch
        self._client = client
        self._generation = generation
        self.pending = pending
        self.embedded = 0
        self.requests = 0
        self.tokens = 0

    def batches(self, windows: Iterator[list[Text]], sizer: BatchSizer) -> Iterator[list[Text]]:
        """Claimed texts in requests of the size in use."""
        for texts in windows:
            for span in plan_batches([text.body for text in texts], sizer.texts, sizer.max_tokens):
                yield texts[span.start : span.stop]

    def call(self, texts: Sequence[Text], deadline: float) -> EmbeddingReply:
        """One request; runs in a worker thread."""
        return self._client.embed([text.body for text in texts], deadline)

    def store(self, outcomes: Sequence[Arrived]) -> None:
        """Vectors, failures, usage and what is served now, in one transaction."""
        rows = [row for outcome in outcomes if outcome.result for row in _vector_rows(outcome.items, outcome.result)]
        usage = _usage_of(outcomes)
        embedded = self.embedded + len(rows)

        def work(connection: psycopg.Connection) -> None:
            if rows:
                self._store_vectors(connection, rows)
            for outcome in outcomes:
                if outcome.error is not None:
                    self._fail(connection, outcome)
            _book(connection, self._generation.model, usage)
            self._batch.lease.fence(connection, {"embedded": embedded})

        run_chunk(self._database, work)
        self.embedded = embedded
        for outcome in outcomes:
            self.pending.settle(outcome.items)
            if outcome.result is not None:
                self.requests += outcome.result.requests
                self.tokens += outcome.result.tokens

    def _store_vectors(self, connection: psycopg.Connection, rows: list[tuple[Any, ...]]) -> None:
        connection.execute(load("create_arrived_vector"))
        copy_rows(connection, "arrived_vector", VECTOR_COLUMNS, rows)
        connection.execute("ANALYZE arrived_vector")
        connection.execute(load("store_vectors"), {"generation": self._generation.id, "run_id": self._batch.run_id})
        pairs = connection.execute(
            "SELECT DISTINCT t.pair_id FROM arrived_vector v JOIN helix.passage t ON t.text_hash = v.text_hash"
            " WHERE t.recipe = %s",
            [self._generation.recipe],
        ).fetchall()
        connection.execute(
            load("serve_ready"),
            {
                "pairs": [pair for (pair,) in pairs],
                "generation": self._generation.id,
                "recipe": self._generation.recipe,
            },
        )

    def _fail(self, connection: psycopg.Connection, outcome: Arrived) -> None:
        assert outcome.error is not None
        for text in outcome.items:
            connection.execute(
                load("fail_text"),
                {
                    "generation": self._generation.id,
                    "recipe": self._generation.recipe,
                    "text_hash": text.hash,
                    "code": outcome.error.code,
                    "message": outcome.error.message,
                    "run_id": self._batch.run_id,
                },
            )


def _vector_rows(texts: Sequence[Text], reply: EmbeddingReply) -> Iterator[tuple[Any, ...]]:
    """Rows for COPY: unit vectors in halfvec's binary form (dimensions, unused, big-endian half floats)."""
    lengths = np.linalg.norm(reply.vectors, axis=1, keepdims=True)
    halves = (reply.vectors / lengths).astype(">f2")
    header = struct.pack(">HH", halves.shape[1], 0)
    tokens = max(1, round(reply.tokens / len(texts)))
    for text, half in zip(texts, halves, strict=True):
        yield text.hash, header + half.tobytes(), tokens


def _usage_of(outcomes: Sequence[Arrived]) -> Counter[tuple[int, str]]:
    """Requests, texts and tokens per paying import; a request that serves several is booked to its first text's."""
    usage: Counter[tuple[int, str]] = Counter()
    for outcome in outcomes:
        if outcome.result is None:
            continue
        usage[outcome.items[0].import_id, "requests"] += outcome.result.requests
        usage[outcome.items[0].import_id, "tokens"] += outcome.result.tokens
        for text in outcome.items:
            usage[text.import_id, "texts"] += 1
    return usage


def _book(connection: psycopg.Connection, model: str, usage: Counter[tuple[int, str]]) -> None:
    for import_id in sorted({key for key, _ in usage}):
        connection.execute(
            "INSERT INTO helix.api_usage AS u (import_job_id, service, model, requests, texts, tokens)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (import_job_id, service, model) DO UPDATE"
            " SET requests = u.requests + EXCLUDED.requests, texts = u.texts + EXCLUDED.texts,"
            " tokens = u.tokens + EXCLUDED.tokens",
            [import_id, SERVICE, model, *(usage[import_id, what] for what in ("requests", "texts", "tokens"))],
        )


def _text_states(database: Database, imports: Sequence[ImportJob], generation: Generation) -> tuple[int, int, int]:
    with database.transaction() as connection:
        row = connection.execute(
            load("text_states"),
            {
                "ledgers": [job.ledger_id for job in imports],
                "recipe": generation.recipe,
                "generation": generation.id,
            },
        ).fetchone()
    assert row is not None
    return row
