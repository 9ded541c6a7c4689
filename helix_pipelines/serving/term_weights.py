"""What each term of a query is worth: PostgreSQL ranks by the text alone, so how rare a term is is counted here."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, Final

import psycopg

from helix_pipelines.serving.terms import is_single_unspaced, terms
from helix_pipelines.storage.queries import load

MAX_QUERY_TERMS: Final = 64
"""Of a longer query its first terms count; a term costs about a millisecond over 100k pairs."""

TELLING_PAIRS: Final = 2_000
"""A term in more pairs than this proposes none of them: it only weighs in on those that others propose."""


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term as tsquery, the share of the query's weight that it has, whether it looks like a code, how many pairs hold it."""

    query: str
    weight: float
    is_code: bool
    pairs: float


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """The terms of a query; their weights add up to 1. `rarity` is that of the rarest: 1 in one pair or none, 0 in all."""

    terms: list[QueryTerm]
    rarity: float

    @property
    def telling(self) -> list[QueryTerm]:
        """The terms that propose pairs: rare ones; where there is none, the rarest that occurs."""
        known = [term for term in self.terms if term.pairs > 0]
        rare = [term for term in known if term.pairs <= TELLING_PAIRS]
        return rare or sorted(known, key=lambda term: term.pairs)[:1]

    def parameters(self) -> dict[str, Any]:
        """All terms as parameters of a statement."""
        return _parameters(self.terms)

    def telling_parameters(self) -> dict[str, Any]:
        """The telling terms as parameters of a statement."""
        return _parameters(self.telling)


def weigh(connection: psycopg.Connection, text: str) -> QueryTerms:
    """The terms of a query with their inverse document frequencies, `ln(1 + pairs / pairs with the term)`, as shares."""
    words = _asked(terms(text))[:MAX_QUERY_TERMS]
    prefix = ":*" if len(words) == 1 and is_single_unspaced(words[0]) else ""
    queries = [f"'{word}'{prefix}" for word in words]
    rows = connection.execute(
        load("search_term_counts"), {"terms": words, "queries": queries, "bound": TELLING_PAIRS + 1}
    ).fetchall()
    rarities = [log(1 + max(pairs, 1) / max(holding, 0.5)) for pairs, holding in rows]
    total = sum(rarities) or 1.0
    rarest = max((log(max(pairs, 1) / max(holding, 1)) / log(max(pairs, 2)) for pairs, holding in rows), default=0.0)
    weighed = [
        QueryTerm(query, rare / total, not word.isalpha(), holding)
        for word, query, rare, (_, holding) in zip(words, queries, rarities, rows, strict=True)
    ]
    return QueryTerms(weighed, min(max(rarest, 0.0), 1.0))


def _asked(words: list[str]) -> list[str]:
    """Without last characters of unspaced runs: the pair before holds them, and a text that goes on there has them not alone."""
    ends = {word[-1] for word in words if len(word) > 1}
    return [word for word in words if not (is_single_unspaced(word) and word in ends)]


def _parameters(chosen: list[QueryTerm]) -> dict[str, Any]:
    return {
        "queries": [term.query for term in chosen],
        "weights": [term.weight for term in chosen],
        "codes": [term.is_code for term in chosen],
    }
