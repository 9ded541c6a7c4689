"""What embedding costs: booked to the import whose pair needed a text first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import Text
from helix_pipelines.storage.queries import load


@dataclass(slots=True)
class _Paid:
    requests: int = 0
    texts: int = 0
    tokens: int = 0


class Usage:
    """Requests, texts and tokens of some answers, per paying import.

    A request for several is booked to its first text's; its tokens are shared out by the length of the texts, to the last one.

    `cost` says what so many tokens cost.
    """

    def __init__(self, cost: Callable[[int], float]) -> None:
        self._cost = cost
        self._paid: dict[int, _Paid] = defaultdict(_Paid)

    def add(self, texts: Sequence[Text], reply: EmbeddingReply) -> None:
        """Count an answer."""
        self._paid[texts[0].import_id].requests += reply.requests
        lengths: Counter[int] = Counter()
        for text in texts:
            self._paid[text.import_id].texts += 1
            lengths[text.import_id] += len(text.body)
        booked, passed, total = 0, 0, max(1, lengths.total())
        for import_id, length in lengths.items():
            passed += length
            share = reply.tokens * passed // total - booked
            self._paid[import_id].tokens += share
            booked += share

    @property
    def requests(self) -> int:
        """HTTP requests that were answered."""
        return sum(paid.requests for paid in self._paid.values())

    @property
    def tokens(self) -> int:
        """Tokens that the service counted."""
        return sum(paid.tokens for paid in self._paid.values())

    def book(self, connection: psycopg.Connection, model: str) -> None:
        """Add to `api_usage`, in the transaction that stores the vectors."""
        for import_id, paid in sorted(self._paid.items()):
            connection.execute(
                load("book_usage"),
                {
                    "job": import_id,
                    "service": SERVICE,
                    "model": model,
                    "requests": paid.requests,
                    "texts": paid.texts,
                    "tokens": paid.tokens,
                    "cost": self._cost(paid.tokens),
                },
            )


def tokens_spent(connection: psycopg.Connection, batch_id: int, model: str) -> int:
    """Tokens that the imports of a batch have paid for so far."""
    row = connection.execute(
        "SELECT coalesce(sum(u.tokens), 0)::bigint FROM helix.api_usage u JOIN helix.import_job j ON j.id = u.import_job_id"
        " WHERE j.batch_id = %s AND u.service = %s AND u.model = %s",
        [batch_id, SERVICE, model],
    ).fetchone()
    assert row is not None
    return int(row[0])
