"""Faults by chance, reproducible by their seed, and the answers that they break."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from itertools import accumulate
from random import Random

import numpy as np
import numpy.typing as npt

from helix_pipelines_tests.fakes.answers import Answer, Ask, embed, encoded, error, listing, vectors_for, wants_base64
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.hashed_vectors import MAX_DIMENSIONS, PIECE, hashed_vectors

HTML = b"<html>\r\n<head><title>%d</title></head>\r\n<body><center><h1>%d</h1></center><hr>nginx</body>\r\n</html>\r\n"


class Dice:
    """Draws the fault of each request in the order of arrival, and the spread of latencies from a sequence of its own."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._seed = behaviour.seed
        self._begin()
        self.change(behaviour)

    def change(self, behaviour: Behaviour) -> None:
        """Go by these probabilities from now on; another seed begins its sequences."""
        if behaviour.seed != self._seed:
            self._seed = behaviour.seed
            self._begin()
        kinds = {kind: p for kind, p in behaviour.probabilities().items() if p > 0}
        self._edges = list(zip(accumulate(kinds.values()), kinds, strict=True))
        self._sigma = behaviour.latency_sigma

    def fault(self) -> str | None:
        """The kind of this request's fault; None is no fault."""
        if not self._edges:
            return None
        drawn = self._faults.random()
        return next((kind for edge, kind in self._edges if drawn < edge), None)

    def spread(self) -> float:
        """The factor on this request's latency."""
        return self._latencies.lognormvariate(0, self._sigma) if self._sigma else 1.0

    def luck(self) -> Random:
        """What the details of a fault are drawn from: one draw of the sequence, however many the fault needs."""
        return Random(self._faults.random())

    def _begin(self) -> None:
        self._faults = Random(self._seed)
        self._latencies = Random(self._seed)


def faulty(kind: str, ask: Ask, behaviour: Behaviour, luck: Random) -> Answer:
    """The answer with that fault; KeyError for a kind that is not one of an answer."""
    if kind == "error":
        return error(behaviour.error_status, "The server had an error while processing your request")
    if kind == "html":
        status = behaviour.html_status
        return Answer(status, HTML % (status, status), content_type=b"text/html")
    if kind == "truncated":
        whole = embed(ask, behaviour)
        return whole._replace(body=whole.body[: len(whole.body) // 2])
    if kind == "cut":
        whole = embed(ask, behaviour)
        return whole._replace(cut_after=len(whole.body) // 2)
    return Answer(200, listing(ask, BREAKERS[kind](ask, behaviour, luck)))


Numbered = list[tuple[int, bytes]]


def _right(ask: Ask, behaviour: Behaviour) -> Numbered:
    return list(enumerate(encoded(ask, behaviour, vectors_for(ask, behaviour))))


def _wrong_count(ask: Ask, behaviour: Behaviour, luck: Random) -> Numbered:
    rows = _right(ask, behaviour)
    return rows[:-1] if luck.random() < 0.5 else [*rows, (len(rows), rows[-1][1])]


def _wrong_order(ask: Ask, behaviour: Behaviour, luck: Random) -> Numbered:
    rows = _right(ask, behaviour)
    shuffled = luck.sample(rows, len(rows))
    return shuffled if shuffled != rows else rows[::-1]


def _duplicated_index(ask: Ask, behaviour: Behaviour, luck: Random) -> Numbered:
    rows = _right(ask, behaviour)
    if len(rows) == 1:
        return rows * 2
    place = luck.randrange(1, len(rows))
    rows[place] = (place - 1, rows[place][1])
    return rows


def _wrong_dimensions(ask: Ask, behaviour: Behaviour, _luck: Random) -> Numbered:
    dimensions = vectors_for(ask, behaviour).dimensions
    other = dimensions + PIECE if dimensions + PIECE <= MAX_DIMENSIONS else dimensions - PIECE
    return list(enumerate(encoded(ask, behaviour, hashed_vectors(other))))


def _nan(ask: Ask, behaviour: Behaviour, luck: Random) -> Numbered:
    place = luck.randrange(len(ask.texts))
    vector = vectors_for(ask, behaviour).of([ask.texts[place]])[0].copy()
    vector[luck.randrange(len(vector))] = np.nan
    return _with(ask, behaviour, place, vector)


def _zero(ask: Ask, behaviour: Behaviour, luck: Random) -> Numbered:
    nothing = np.zeros(vectors_for(ask, behaviour).dimensions, np.float32)
    return _with(ask, behaviour, luck.randrange(len(ask.texts)), nothing)


def _with(ask: Ask, behaviour: Behaviour, place: int, vector: npt.NDArray[np.float32]) -> Numbered:
    rows = _right(ask, behaviour)
    if wants_base64(ask, behaviour):
        packed = b'"%b"' % binascii.b2a_base64(vector.tobytes(), newline=False)
    else:
        # The standard module writes the word NaN, as servers in Python do; it is not JSON.
        packed = json.dumps(vector.tolist()).encode()
    rows[place] = (place, packed)
    return rows


BREAKERS: dict[str, Callable[[Ask, Behaviour, Random], Numbered]] = {
    "wrong_count": _wrong_count,
    "wrong_order": _wrong_order,
    "duplicated_index": _duplicated_index,
    "wrong_dimensions": _wrong_dimensions,
    "nan": _nan,
    "zero": _zero,
}
"""Of vectors in an answer with status 200."""
USELESS = frozenset({"truncated", "cut", *BREAKERS} - {"wrong_order"})
"""Faults of answers that were paid for and cannot be used."""
