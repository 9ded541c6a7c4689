"""Hybrid search: vectors find by meaning, terms find by wording; both propose candidates and one formula ranks them.

The formula and its weights were chosen on data (docs/decisions/0002-hybrid-search.md). The module imports neither numpy nor
SQLAlchemy: `helix search` has 0.5 s for everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import psycopg
from psycopg import sql

from helix_pipelines.embedding.generations import Generation, active_generation
from helix_pipelines.resilience.errors import SetupError, UsageError
from helix_pipelines.serving.ranking import Candidate, Ranked, rank_by_text, rank_hybrid
from helix_pipelines.serving.term_weights import QueryTerms, weigh
from helix_pipelines.storage.queries import load

if TYPE_CHECKING:
    import numpy as np

MAX_HITS = 100
CANDIDATES = 100
"""What each half proposes; with the answers' own weights, deeper ranks never came first in the trials."""

EXACT_ROWS = 5_000
"""A scope of so few rows is compared whole, which is exact however its vectors are indexed, and quicker than a scan."""

SCAN_FACTOR = 3
FILTERED_SCAN_FACTOR = 20
WIDE_SCAN = 16_384
"""How many nearest vectors of the open segment to look through, in times of what is wanted; where the scope serves too few of
them, so many, and at last all.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a pair comes from: the file's path, the sheet (None where a file has one part) and the data record from 1."""

    path: str
    sheet: str | None
    row: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A found pair. `score` is between 0 and 1; `stale` tells that each of its rows waits for a newer pair's vectors."""

    pair: int
    score: float
    question: str
    answer: str
    collection: str
    stale: bool
    sources: list[Source]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first, and whether vectors took part: `text_only` where there was no query vector to compare."""

    mode: Literal["hybrid", "text_only"]
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where to look; None everywhere means everything."""

    collection: int | None
    sources: list[int] | None
    category: str | None
    language: str | None

    @property
    def is_everything(self) -> bool:
        return self.sources is None and self.category is None and self.language is None

    def parameters(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "sources": self.sources,
            "category": self.category,
            "language": self.language,
        }


def search(
    connection: psycopg.Connection,
    text: str,
    query_vector: np.ndarray | Sequence[float] | None,
    *,
    k: int = 10,
    collection: str | None = None,
    category: str | None = None,
    language: str | None = None,
    source: str | None = None,
) -> SearchResult:
    """The `k` best pairs for `text` among those that some row serves, each with all its rows.

    `query_vector` is the embedding of `query_text(text, recipe)` by the active generation's model, or None where the
    service cannot be asked: then full text answers alone. The filters narrow the search to a collection or source by its
    name, a category, a language.

    Raises UsageError (SEARCH_INVALID, COLLECTION_UNKNOWN, SOURCE_UNKNOWN) and SetupError (EMBEDDING_GENERATION_MISMATCH).
    """
    if not 1 <= k <= MAX_HITS or not text.strip():
        raise UsageError("SEARCH_INVALID", f"A search needs a text and between 1 and {MAX_HITS} hits to ask for.")
    with connection.transaction():
        scope = _find_scope(connection, collection, source, category, language)
        terms = weigh(connection, text)
        generation = None if query_vector is None else active_generation(connection)
        proposed = _by_terms(connection, terms, scope, max(CANDIDATES, k))
        if generation is None or query_vector is None:
            ranked = rank_by_text(_candidates(connection, proposed, terms, None, None))
            return SearchResult("text_only", _hits(connection, ranked[:k]))
        vector = _vector_text(query_vector, generation)
        near = _by_vector(connection, vector, generation, scope, max(CANDIDATES, k))
        candidates = _candidates(connection, [*near, *proposed], terms, vector, generation)
        return SearchResult("hybrid", _hits(connection, rank_hybrid(candidates, terms.rarity)[:k]))


def _find_scope(
    connection: psycopg.Connection,
    collection: str | None,
    source: str | None,
    category: str | None,
    language: str | None,
) -> _Scope:
    if collection is None and source is None:
        return _Scope(None, None, category, language)
    collection_id = None
    if collection is not None:
        row = connection.execute("SELECT id FROM helix.collection WHERE name = %s", [collection]).fetchone()
        if row is None:
            known = [name for (name,) in connection.execute("SELECT name FROM helix.collection ORDER BY id LIMIT 10")]
            raise UsageError(
                "COLLECTION_UNKNOWN", f"There is no collection {collection!r}; there are: {', '.join(known)}."
            )
        collection_id = int(row[0])
    sources = connection.execute(load("search_sources"), {"collection": collection_id, "source": source}).fetchall()
    if source is not None and not sources:
        raise UsageError("SOURCE_UNKNOWN", f"There is no source {source!r}. `helix status` lists the imported files.")
    return _Scope(collection_id, [source_id for (source_id,) in sources], category, language)


def _by_terms(connection: psycopg.Connection, terms: QueryTerms, scope: _Scope, limit: int) -> list[int]:
    """Ids of pairs that share the query's telling terms, the heaviest share first."""
    if not terms.telling:
        return []
    return _ids(connection, "search_text", {**terms.telling_parameters(), **scope.parameters(), "limit": limit})


def _by_vector(
    connection: psycopg.Connection, vector: str, generation: Generation, scope: _Scope, limit: int
) -> list[int]:
    """Ids of the pairs nearest to the query: exact in a small scope and in the open segment, by index in sealed ones."""
    parameters = {
        **scope.parameters(), "vector": vector, "generation": generation.id, "recipe": generation.recipe, "limit": limit,
        "segment": generation.open_segment,
    }  # fmt: skip
    if not scope.is_everything and _is_small(connection, scope):
        return _ids(connection, "search_vectors_of_scope", parameters)
    found: list[int] = []
    first_scan = limit * (SCAN_FACTOR if scope.is_everything else FILTERED_SCAN_FACTOR)
    for scan in (first_scan, WIDE_SCAN, None):
        found = _ids(connection, "search_vectors_open", {**parameters, "scan": scan})
        if len(found) >= limit:
            break
    if generation.open_segment > 0:
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    for segment in range(generation.open_segment):
        found += _ids(
            connection, "search_vectors_sealed", parameters,
            generation=sql.Literal(generation.id), segment=sql.Literal(segment),
            dimensions=sql.Literal(generation.dimensions),
        )  # fmt: skip
    return found


def _is_small(connection: psycopg.Connection, scope: _Scope) -> bool:
    row = connection.execute(_statement("search_scope"), {**scope.parameters(), "bound": EXACT_ROWS + 1}).fetchone()
    assert row is not None
    return bool(row[0] <= EXACT_ROWS)


def _candidates(
    connection: psycopg.Connection,
    pairs: Sequence[int],
    terms: QueryTerms,
    vector: str | None,
    generation: Generation | None,
) -> list[Candidate]:
    rows = connection.execute(
        load("search_scores"),
        {
            **terms.parameters(),
            "pairs": list(dict.fromkeys(pairs)),
            "vector": vector,
            "generation": generation and generation.id,
            "recipe": generation and generation.recipe,
        },
        prepare=False,
    )
    return [Candidate(*row) for row in rows]


def _hits(connection: psycopg.Connection, ranked: Sequence[Ranked]) -> list[Hit]:
    scores = {line.pair: line.score for line in ranked}
    rows = connection.execute(load("search_hits"), {"pairs": list(scores)})
    return [
        Hit(
            pair,
            scores[pair],
            question,
            answer,
            collection,
            stale,
            [Source(*place) for place in zip(*places, strict=True)],
        )
        for pair, question, answer, collection, stale, *places in rows
    ]


def _ids(connection: psycopg.Connection, name: str, parameters: dict[str, Any], **parts: sql.Composable) -> list[int]:
    # Not prepared: a plan for these very values drops the filters that are not given and sees the vector's segment.
    return [pair for (pair,) in connection.execute(_statement(name, **parts), parameters, prepare=False)]


def _statement(name: str, **parts: sql.Composable) -> sql.Composed:
    text: LiteralString = load(name)
    served: LiteralString = load("search_served")
    return sql.SQL(text).format(served=sql.SQL(served), **parts)


def _vector_text(vector: np.ndarray | Sequence[float], generation: Generation) -> str:
    """The vector as PostgreSQL reads it; raises where it is not of the generation's size."""
    if len(vector) != generation.dimensions:
        raise SetupError(
            "EMBEDDING_GENERATION_MISMATCH",
            f"The query was embedded to {len(vector)} dimensions, the knowledge base by {generation.model} to"
            f" {generation.dimensions}: set HELIX_EMBEDDING_MODEL and _URL to the service that filled it.",
        )
    return f"[{','.join(f'{value:.7g}' for value in vector)}]"
