"""The fourth phase: every text of a batch gets its vector, once a generation, whoever needs it and whoever pays.

What it asks of the drain is three things: to claim (batches of pending texts), to call (one request), to store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from time import monotonic, sleep
from typing import Any

import psycopg

from helix_pipelines.embedding import vectors
from helix_pipelines.embedding.batching import BatchSizer, estimate_tokens, plan_batches
from helix_pipelines.embedding.generations import Generation, partition_name
from helix_pipelines.embedding.service import EmbeddingService
from helix_pipelines.embedding.texts import PendingTexts, Text
from helix_pipelines.embedding.usage import Usage, tokens_spent
from helix_pipelines.resilience.budget import TokenBudget
from helix_pipelines.resilience.drain import Outcome, drain
from helix_pipelines.resilience.errors import GlobalError, ItemError, LimitedError, PhaseError, UnavailableError
from helix_pipelines.resilience.prefetch import prefetched
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import list_imports
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.quarantine import list_quarantine
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.states import ImportState
from helix_pipelines.storage.statistics import refresh_statistics

WINDOWS_AHEAD = 1
"""Windows of claimed texts beyond those being sent: the next one is opened while vectors of the last one are stored."""
LAST_ATTEMPT = 6
"""Requests in which a text failed, in ever smaller company and with all their retries, before it counts as its own fault."""
POLL_SECONDS = 0.5
"""Between looks at texts that another living run has claimed, or that are due for another attempt in a moment."""
LONGEST_POLL = 5.0
Arrived = Outcome[Text, vectors.Packed]


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """What it took: texts embedded now, texts known before, requests, tokens and money paid, texts failed and pending, seconds.

    `unavailable` says why work was left pending, where the service could not be used; `pending` counts rows then.
    """

    generation: Generation | None
    texts: int
    cached: int
    requests: int
    tokens: int
    cost: float
    failed: int
    pending: int
    seconds: float
    unavailable: UnavailableError | None


def embed_batch(
    database: Database,
    batch: BatchWork,
    service: EmbeddingService,
    *,
    patience: float = 3600.0,
) -> EmbeddingReport:
    """Embed what the batch's accepted rows need and serve each pair in the transaction that stores its last vector.

    A text that the service refuses is marked failed with code and message; the others go on. Where the service cannot be used for
    now, what arrived is stored and the rest is left pending. `patience` is seconds to wait for texts that other runs hold.

    Raises PhaseError: not recoverable where an operator has to act (key, quota, model), recoverable where other runs hold texts.
    """
    started = monotonic()
    filling = unavailable = None
    try:
        filling = _Filling(database, batch, service, service.generation(database))
        states = filling.fill(patience)
    except GlobalError as error:
        raise PhaseError("embedding", error.code, error.message, recoverable=False) from error
    except UnavailableError as error:
        unavailable, states = error, filling.states() if filling else (0, 0, 0)
    texts, failed, left = states
    embedded, tokens = (filling.embedded, filling.tokens) if filling else (0, 0)
    if filling is not None:
        refresh_statistics(database, embedded, "passage", partition_name(filling.generation.id))
    return EmbeddingReport(
        generation=filling.generation if filling else None,
        texts=embedded,
        cached=max(0, texts - failed - left - embedded),
        requests=filling.requests if filling else 0,
        tokens=tokens,
        cost=service.cost(tokens),
        failed=failed,
        pending=unfinished_rows(database, batch) if unavailable else 0,
        seconds=monotonic() - started,
        unavailable=unavailable,
    )


class _Filling:
    """Claims, calls and stores for one batch, and counts."""

    def __init__(self, database: Database, batch: BatchWork, service: EmbeddingService, generation: Generation) -> None:
        self._database = database
        self._batch = batch
        self._service = service
        self.generation = generation
        with database.transaction() as connection:
            imports = list_imports(connection, batch.id, [ImportState.PARSED])
            spent = tokens_spent(connection, batch.id, generation.model)
        self._pending = PendingTexts(database, batch, imports, generation)
        self._budget = TokenBudget(service.batch_tokens, spent)
        self._sizer = service.sizer(batch.settings.max_texts_per_request)
        self.embedded = 0
        self.requests = 0
        self.tokens = 0
        batch.lease.listen(service.calls.stop)

    def fill(self, patience: float) -> tuple[int, int, int]:
        """Go on until no text is pending; returns `states`.

        The first round is the new pairs' texts, later ones are what is left: texts that failed for a passing reason and are due
        again, and those that other runs held.
        """
        windows = self._pending.new()
        polls = 0
        waiting_since, waiting_for = monotonic(), 0
        while True:
            self._drain(windows)
            states = self.states()
            left = states[2]
            if not left:
                self._pending.serve_rest()
                return states
            if left != waiting_for:
                waiting_since, waiting_for, polls = monotonic(), left, 0
            elif monotonic() - waiting_since > patience:
                raise PhaseError(
                    "embedding",
                    "TEXTS_HELD_ELSEWHERE",
                    "Texts of this batch are claimed by another run that does not finish them; look at the running batches.",
                    recoverable=True,
                )
            else:
                self._batch.heed()
                sleep(min(POLL_SECONDS * 1.5**polls, LONGEST_POLL))
                polls += 1
            windows = self._pending.left()

    def states(self) -> tuple[int, int, int]:
        """How many texts the batch has, and how many of them failed and are pending."""
        return self._pending.states()

    def _drain(self, windows: Iterator[list[Text]]) -> None:
        with prefetched(windows, WINDOWS_AHEAD) as ahead:
            drain(
                self._batches(ahead),
                self._call,
                self._store,
                concurrency=self._service.limits.max_concurrency,
                sizer=self._sizer,
                stop=self._service.calls.stop,
            )

    def _batches(self, windows: Iterator[list[Text]]) -> Iterator[list[Text]]:
        """Claimed texts in requests of the size in use; those that failed before in smaller ones."""
        for window in _joined(windows, self._sizer):
            for attempts, group in groupby(sorted(window, key=attrgetter("attempts")), key=attrgetter("attempts")):
                yield from _requests(list(group), self._sizer, attempts)

    def _call(self, texts: Sequence[Text]) -> vectors.Packed:
        """One request; runs in a worker thread. A run that may not go on sends nothing more."""
        self._batch.heed()
        bodies = [text.body for text in texts]
        reserved = sum(map(estimate_tokens, bodies))
        self._budget.reserve(reserved)
        used = 0
        try:
            reply = self._service.embed(bodies)
            used = reply.tokens
            return vectors.pack(texts, reply)
        finally:
            self._budget.settle(reserved, used)

    def _store(self, outcomes: Sequence[Arrived]) -> None:
        """Vectors, failures, usage and what is served now, in one transaction."""
        answered = [(outcome.items, outcome.result) for outcome in outcomes if outcome.result is not None]
        packed = [answer for _, answer in answered]
        usage = Usage(self._service.cost)
        for texts, answer in answered:
            usage.add(texts, answer.reply)
        embedded = self.embedded + sum(len(texts) for texts, _ in answered)

        def work(connection: psycopg.Connection) -> None:
            with connection.pipeline():  # the writer waits for one answer of the database, not for each
                if packed:
                    vectors.store(connection, packed, self.generation, self._batch.run_id)
                for outcome in outcomes:
                    if outcome.error is not None:
                        self._fail(connection, outcome)
                usage.book(connection, self.generation.model)

        self._batch.write(self._database, work, {"embedded": embedded})
        self.embedded = embedded
        self.requests += usage.requests
        self.tokens += usage.tokens
        for outcome in outcomes:
            self._pending.settle(outcome.items)

    def _fail(self, connection: psycopg.Connection, outcome: Arrived) -> None:
        """A refusal is final. What failed for a passing reason is so only for a text that failed alone, again and again."""
        last_attempt: int | None = LAST_ATTEMPT if len(outcome.items) == 1 else None
        if isinstance(outcome.error, ItemError):
            last_attempt = 0
        assert outcome.error is not None
        connection.execute(
            load("fail_texts"),
            {
                "generation": self.generation.id,
                "recipe": self.generation.recipe,
                "hashes": [text.hash for text in outcome.items],
                "code": outcome.error.code,
                "message": outcome.error.message,
                "counts": 0 if isinstance(outcome.error, LimitedError) else 1,
                "last_attempt": last_attempt,
                "run_id": self._batch.run_id,
            },
        )


def unfinished_rows(database: Database, batch: BatchWork) -> int:
    """Accepted rows of the batch whose pairs have no vector yet."""
    with database.transaction() as connection:
        row = connection.execute(load("unfinished_texts"), {"batch": batch.id}).fetchone()
    return int(row[0]) if row else 0


def failed_rows(database: Database, batch: BatchWork, limit: int) -> list[dict[str, Any]]:
    """The first rows of the batch whose text cannot be embedded, as `list_quarantine` describes them."""
    with database.transaction() as connection:
        return list_quarantine(connection, stage="embedding", batch=batch.partition_key, limit=limit)


def _joined(windows: Iterator[list[Text]], sizer: BatchSizer) -> Iterator[list[Text]]:
    """The texts of small files together, until they fill a request: services count requests, too."""
    together: list[Text] = []
    for window in windows:
        together += window
        if len(together) >= sizer.texts:
            yield together
            together = []
    if together:
        yield together


def _requests(texts: list[Text], sizer: BatchSizer, attempts: int) -> Iterator[list[Text]]:
    """The size is looked up for each request, as it moves while they are sent."""
    start = 0
    while start < len(texts):
        ahead = [text.body for text in texts[start : start + sizer.after(attempts)]]
        first = plan_batches(ahead, len(ahead), sizer.max_tokens)[0]
        yield texts[start : start + first.stop]
        start += first.stop
