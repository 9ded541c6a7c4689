"""The order of candidates: similarity of meaning, and what their wording adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SPREAD_RANK: Final = 50
"""The spread of a query's similarities is the best one less the 50th; models differ in it by a factor of five."""

# What wording may add, in spreads. Chosen on 390 paraphrases and 50 exact terms, see docs/decisions/0002-hybrid-search.md.
SHARED_WEIGHT: Final = 0.05
WHOLE_WEIGHT: Final = 1.0
WHOLE_POWER: Final = 6
RARITY_POWER: Final = 2
CODE_WEIGHT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that was proposed: cosine similarity of its nearest passage (None without a vector), the share 0..1 of the
    query's weight in terms that it holds, the same for terms that look like codes, and how many terms it has itself.
    """

    pair: int
    similarity: float | None
    shared: float
    shared_codes: float
    terms: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """A pair with its score between 0 and 1."""

    pair: int
    score: float


def rank_by_text(candidates: Sequence[Candidate]) -> list[Ranked]:
    """Best first by the share of the query's terms; of equal ones the shorter text, which says less beside them."""
    ordered = sorted(candidates, key=lambda it: (-it.shared, it.terms, it.pair))
    return [Ranked(it.pair, round(it.shared, 6)) for it in ordered if it.shared > 0]


def rank_hybrid(candidates: Sequence[Candidate], rarity: float) -> list[Ranked]:
    """Best first by similarity plus wording.

    `rarity` is that of the query's rarest term, from 0 (in every pair) to 1 (in one).
    `score = (lifted similarity + spread x wording) / (1 + spread x the most that wording can be)`. A pair that holds the whole
    of a rare query is lifted to the best similarity, however little the model thinks of it, so that an exact part of a text
    finds the text. A pair without a vector is taken for the least similar one.
    """
    similarities = sorted((it.similarity for it in candidates if it.similarity is not None), reverse=True)
    best, least = (similarities[0], similarities[-1]) if similarities else (0.0, 0.0)
    spread = best - similarities[:SPREAD_RANK][-1] if similarities else 0.0
    most = 1 + spread * (SHARED_WEIGHT + WHOLE_WEIGHT + CODE_WEIGHT)
    scored = []
    for it in candidates:
        similarity = least if it.similarity is None else it.similarity
        whole = it.shared**WHOLE_POWER * rarity**RARITY_POWER
        lifted = similarity + whole * (best - similarity)
        score = (lifted + spread * _wording(it, whole)) / most
        scored.append((-score, -it.shared, it.pair))
    return [Ranked(pair, round(min(max(-score, 0.0), 1.0), 6)) for score, _, pair in sorted(scored)]


def _wording(it: Candidate, whole: float) -> float:
    """A minor part for each shared term; a steep one (`whole`) for holding nearly the whole of a query that is more than
    common words; and one for codes, which mean nothing to a model.
    """
    return SHARED_WEIGHT * it.shared + WHOLE_WEIGHT * whole + CODE_WEIGHT * it.shared_codes
