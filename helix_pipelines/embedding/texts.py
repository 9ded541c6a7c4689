"""Which texts of a batch have to be embedded: its pairs are cut into passages, and unknown texts are claimed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import psycopg

from helix_pipelines.embedding.generations import Generation
from helix_pipelines.embedding.passages import passages, text_hash
from helix_pipelines.embedding.readiness import mark_stale, serve_ready
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.imports import ImportJob
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load

WINDOW_ROWS = 4_000
"""Ledger lines looked at in one transaction: some tens of milliseconds, and at most a few MB of text in memory."""
CLAIM_SECONDS = 900
"""A claim lapses after this even if its holder lives: nobody sits on a text for a quarter of an hour."""

Unit = tuple[int, int, uuid.UUID, str]
"""A passage: its pair, its place among the pair's passages, the key of its text and the text."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed, its key, the import that pays for it, and how often sending it has failed."""

    hash: uuid.UUID
    body: str
    import_id: int
    attempts: int = 0


class PendingTexts:
    """All texts that a batch still needs, claimed for this run as they are handed out."""

    def __init__(
        self, database: Database, batch: BatchWork, imports: Sequence[ImportJob], generation: Generation
    ) -> None:
        self._database = database
        self._batch = batch
        self._imports = imports
        self._generation = generation
        self._in_hand: set[uuid.UUID] = set()
        self._shared: list[tuple[ImportJob, int]] = []
        self._lock = threading.Lock()

    def settle(self, texts: Sequence[Text]) -> None:
        """Texts that have been stored are not in hand any more. May be called by another thread than the iterating one."""
        with self._lock:
            if self._in_hand:
                self._in_hand.difference_update(text.hash for text in texts)

    def new(self) -> Iterator[list[Text]]:
        """Texts of new pairs, file by file and window by window."""
        for job in self._imports:
            for first in self._batch.write(self._database, partial(self._windows, job=job)):
                yield self._batch.write(self._database, partial(self._open_window, job=job, first=first))

    def left(self) -> Iterator[list[Text]]:
        """Texts that are pending and free: left by earlier runs, by others that died, or due for another attempt."""
        while texts := self._batch.write(self._database, self._claim_pending):
            yield self._take(texts)

    def serve_rest(self) -> None:
        """Serve what neither run has served where two shared a text; to be called once no text is pending.

        Who stores a vector does not see a pair that is being cut just now, nor another of its vectors that is being stored; and
        whoever does that does not see this vector. So windows whose texts were not this run's alone are looked at once more.
        """
        while self._shared:
            job, first = self._shared.pop()
            self._batch.write(self._database, partial(self._serve_window, job=job, first=first))

    def states(self) -> tuple[int, int, int]:
        """How many texts the batch has, and how many of them failed and are pending."""
        with self._database.transaction() as connection:
            row = connection.execute(load("text_states"), self._claim()).fetchone()
        assert row is not None
        return row

    def _take(self, texts: list[Text]) -> list[Text]:
        with self._lock:
            self._in_hand.update(text.hash for text in texts)
        return texts

    def _windows(self, connection: psycopg.Connection, *, job: ImportJob) -> list[int]:
        """First ordinals of the windows in which something is to be done; an unchanged file has none."""
        numbers = connection.execute(
            load("open_windows"),
            {"rows": WINDOW_ROWS, "ledger": job.ledger_id, "recipe": self._generation.recipe},
        )
        return [number * WINDOW_ROWS + 1 for (number,) in numbers]

    def _open_window(self, connection: psycopg.Connection, *, job: ImportJob, first: int) -> list[Text]:
        """Cut the window's new pairs into passages, claim unknown texts, serve pairs whose texts are all known."""
        open_pairs = self._open_pairs(connection, job, first)
        units = [
            (pair, ordinal, text_hash(body), body)
            for pair, question, answer in open_pairs
            if question is not None and answer is not None
            for ordinal, body in enumerate(passages(question, answer, self._generation.recipe))
        ]
        claimed = self._claim_new(connection, job, units) if units else {}
        waiting = {pair for pair, _, key, _ in units if key in claimed}
        ready = [pair for pair, _, _ in open_pairs if pair not in waiting]
        if ready or len(claimed) < len({key for _, _, key, _ in units}):
            self._shared.append((job, first))
        if ready:
            self._serve(connection, ready)
        return [Text(key, body, job.id) for key, body in claimed.items()]

    def _serve_window(self, connection: psycopg.Connection, *, job: ImportJob, first: int) -> None:
        pairs = [pair for pair, _, _ in self._open_pairs(connection, job, first)]
        if pairs:
            self._serve(connection, pairs)

    def _serve(self, connection: psycopg.Connection, pairs: Sequence[int]) -> None:
        """Serve the pairs that are ready; a text that failed for another import keeps its pair from it, which has to be told."""
        serve_ready(connection, self._generation, pairs=pairs)
        mark_stale(connection, self._generation, pairs)

    def _open_pairs(
        self, connection: psycopg.Connection, job: ImportJob, first: int
    ) -> list[tuple[int, str | None, str | None]]:
        """Pairs of a window that are not served, with question and answer where they have not been cut."""
        window = {"ledger": job.ledger_id, "first": first, "last": first + WINDOW_ROWS - 1}
        return connection.execute(load("open_window"), {**window, "recipe": self._generation.recipe}).fetchall()

    def _claim_new(self, connection: psycopg.Connection, job: ImportJob, units: Sequence[Unit]) -> dict[uuid.UUID, str]:
        """Store passages and claim those of their texts that no run has met; returns these by their keys."""
        pairs, ordinals, keys, bodies = (list(column) for column in zip(*units, strict=True))
        known = connection.execute(
            load("claim_new_texts"),
            {**self._claim(), "job": job.id, "pairs": pairs, "ordinals": ordinals, "hashes": keys, "bodies": bodies},
        )
        claimed = dict(zip(keys, bodies, strict=True))
        for (key,) in known:
            del claimed[key]
        return claimed

    def _claim_pending(self, connection: psycopg.Connection) -> list[Text]:
        with self._lock:
            in_hand = list(self._in_hand)
        rows = connection.execute(
            load("claim_pending_texts"), {**self._claim(), "in_hand": in_hand, "limit": WINDOW_ROWS}
        ).fetchall()
        payer = self._imports[0].id if self._imports else 0
        return [Text(key, body, import_id or payer, attempts) for key, body, import_id, attempts in rows]

    def _claim(self) -> dict[str, object]:
        return {
            "generation": self._generation.id,
            "recipe": self._generation.recipe,
            "token": self._batch.lease.token,
            "run_id": self._batch.run_id,
            "seconds": CLAIM_SECONDS,
            "ledgers": [job.ledger_id for job in self._imports],
        }
