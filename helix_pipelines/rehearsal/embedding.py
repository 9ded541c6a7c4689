"""What embedding the accepted rows would take: texts that have no vector yet, in requests, tokens, money and time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from helix_pipelines.embedding.batching import batch_sizes, estimate_tokens
from helix_pipelines.embedding.passages import passages, text_hash
from helix_pipelines.embedding.texts import WINDOW_ROWS
from helix_pipelines.rehearsal.scratch import Scratch
from helix_pipelines.storage.copying import RAW

PER_MILLION = 1_000_000
LAST_PORTION = 2**31 - 1
"""Texts that an earlier import left for later come after all new ones."""
NEED_COLUMNS = (("file", "int4"), ("portion", "int4"), ("text_hash", RAW), ("tokens", "int4"))


@dataclass(frozen=True, slots=True)
class EmbeddingTerms:
    """How texts would be embedded: by which generation (None before the first import) and recipe, in which requests, at what
    price a million tokens, and how fast.

    `requests_per_minute` and `tokens_per_minute` are the limits in force, None for no limit. `texts_per_second` is the pace of
    a service that is known, all its requests in flight together.
    """

    recipe: str
    generation: int | None
    max_texts: int
    max_tokens: int | None
    price: float
    requests_per_minute: float | None
    tokens_per_minute: float | None
    texts_per_second: float | None

    def seconds(self, requests: int, texts: int, tokens: int) -> float | None:
        """How long that would take by whatever is slowest, None where nothing is known to limit it."""
        bounds = [
            60 * requests / self.requests_per_minute if self.requests_per_minute else None,
            60 * tokens / self.tokens_per_minute if self.tokens_per_minute else None,
            texts / self.texts_per_second if self.texts_per_second else None,
        ]
        return max((bound for bound in bounds if bound is not None), default=None)


@dataclass(frozen=True, slots=True)
class EmbeddingEstimate:
    """Requests, distinct texts, estimated tokens, their cost in the currency of the price, and seconds (None: unlimited)."""

    requests: int
    texts: int
    tokens: int
    cost: float
    seconds: float | None


def collect_needs(scratch: Scratch, file: int, collection: int, same_as: int | None, terms: EmbeddingTerms) -> None:
    """Note down what the accepted rows of a file, or of the import `same_as` that read the same bytes, need embedded."""
    named = {
        "file": file,
        "collection": collection,
        "same_as": same_as,
        "recipe": terms.recipe,
        "generation": terms.generation,
        "portion_rows": WINDOW_ROWS,
    }
    scratch.run("rehearse_new_texts", named)
    scratch.append_all("rehearsed_need", NEED_COLUMNS, _uncut(scratch, named))
    scratch.append_all("rehearsed_need", NEED_COLUMNS, _open(scratch, named))


def estimate(scratch: Scratch, terms: EmbeddingTerms) -> EmbeddingEstimate:
    """Add up what was noted down, each text once."""
    requests = texts = tokens = 0
    needs = scratch.stream("rehearse_needs", {"generation": terms.generation})
    for _, portion in groupby(needs, key=lambda need: need[:2]):
        costs = [cost for *_, cost in portion]
        requests += sum(1 for _ in batch_sizes(costs, terms.max_texts, terms.max_tokens))
        texts += len(costs)
        tokens += sum(costs)
    return EmbeddingEstimate(
        requests, texts, tokens, tokens * terms.price / PER_MILLION, terms.seconds(requests, texts, tokens)
    )


def _uncut(scratch: Scratch, named: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Pairs that are known but that no import has cut into passages yet."""
    for question, answer, portion in scratch.stream("rehearse_uncut_pairs", named):
        for body in passages(question, answer, named["recipe"]):
            yield named["file"], portion, text_hash(body).bytes, estimate_tokens(body)


def _open(scratch: Scratch, named: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Texts whose vectors are still to come."""
    for key, body in scratch.stream("rehearse_open_texts", named):
        yield LAST_PORTION, 0, key.bytes, estimate_tokens(body)
