"""What an embedding service answered, taken apart and checked before anybody believes it."""

from __future__ import annotations

import binascii
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from helix_pipelines.embedding.batching import estimate_tokens
from helix_pipelines.resilience.errors import ItemError, TransientError
from helix_pipelines.resilience.rate_headers import NO_HEADERS, RateHeaders

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FLOAT_BYTES = 4
"""Of a little-endian float32, which `encoding_format: base64` carries and a reply holds, on every machine."""
USABLE_SQUARES = (2.0**-126, 2.0**128 - 2.0**104)
"""Squared lengths that a float32 can hold in full precision: no zero, infinity or NaN, and none after scaling."""
NUMPY_PAYS = 32
"""Vectors from which on checking them by numpy is quicker, its import of 0.1 s aside: a search has one, an import many."""


@dataclass(frozen=True, slots=True)
class EmbeddingReply:
    """The vectors of one call, in the order of its texts, and what they cost.

    `packed` has the vectors one after another, `dimensions` little-endian float32 each, as the service scaled them: finite,
    none of length 0. `tokens` is what the service reported, or an estimate where it reported nothing. `requests` is HTTP
    requests sent, failed ones included. `rate` is what it said of its limits, `seconds` how long it took to answer.
    """

    packed: bytes
    dimensions: int
    tokens: int
    requests: int
    rate: RateHeaders = NO_HEADERS
    seconds: float = 0.0

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """One row a text, not to be written to."""
        import numpy as np

        return np.frombuffer(self.packed, "<f4").astype(np.float32, copy=False).reshape(-1, self.dimensions)

    @property
    def first(self) -> tuple[float, ...]:
        """The first text's vector as plain numbers, for a search, which has no time to load numpy."""
        return struct.unpack_from(f"<{self.dimensions}f", self.packed)


class WrongDimensionsError(TransientError):
    """All vectors of an answer have the same size, which is not the one asked for."""

    def __init__(self, expected: int, given: int) -> None:
        super().__init__(
            "EMBEDDING_DIMENSIONS_MISMATCH",
            f"The embedding service sent vectors of {given} dimensions, not {expected}. Check which model it serves;"
            f" set"
            f" HELIX_EMBEDDING_DIMENSIONS to a size that the model has, or leave it out.",
        )


class UnusableVectorsError(TransientError):
    """Every vector of an answer is zero, infinite or NaN."""

    def __init__(self) -> None:
        super().__init__(
            "EMBEDDING_RESPONSE_INVALID",
            "No vector that the embedding service sent is finite and longer than 0. It is asked again; if this lasts,"
            " check it.",
        )


def parse_reply(body: bytes, texts: Sequence[str], dimensions: int | None) -> EmbeddingReply:
    """The checked answer to one request of `texts`: vectors ordered by their `index`, and the tokens it reports.

    `dimensions` is the size that every vector must have; None takes the size of the first.

    Raises TransientError (EMBEDDING_RESPONSE_INVALID) for anything that is not one finite vector of a length above 0
    for each text, WrongDimensionsError, UnusableVectorsError, and ItemError (EMBEDDING_VECTOR_UNUSABLE) where only some
    of the vectors are not usable: then the service works, and bisecting finds the text that it cannot embed.
    """
    answer = _json(body)
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != len(texts):
        given = f"{len(data)} vectors" if isinstance(data, list) else "no list of vectors"
        raise _invalid(f"it holds {given} for {len(texts)} texts")
    rows = _ordered(data)
    sizes = set(map(len, rows))
    if len(sizes) != 1 or 0 in sizes:
        raise _invalid("its vectors differ in size" if len(sizes) > 1 else "its vectors are empty")
    size = sizes.pop() // FLOAT_BYTES
    if dimensions is not None and size != dimensions:
        raise WrongDimensionsError(dimensions, size)
    tokens = _tokens(answer.get("usage"))
    if tokens is None:
        tokens = sum(map(estimate_tokens, texts))
    reply = EmbeddingReply(b"".join(rows), size, tokens, requests=1)
    _check_lengths(reply, len(rows))
    return reply


def _json(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(answer, dict):
        raise _invalid("it is not a JSON object")
    return answer


def _ordered(data: list[Any]) -> list[bytes]:
    """The vectors of `data` in the order of their `index`, which has to name each place once."""
    ordered: list[bytes | None] = [None] * len(data)
    for item in data:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < len(data) or ordered[index] is not None:
            raise _invalid("the indexes of its vectors do not name each text once")
        ordered[index] = _vector(item.get("embedding"))
    return [row for row in ordered if row is not None]


def _vector(embedding: Any) -> bytes:
    """One vector as little-endian float32, from base64 of that or from a list of numbers, whichever the service chose."""
    try:
        if isinstance(embedding, str):
            packed = binascii.a2b_base64(embedding)
            if len(packed) % FLOAT_BYTES == 0:
                return packed
        elif isinstance(embedding, list):
            # Numbers beyond float32 become infinite, and are found as such by the check of lengths.
            numbers = array("f", embedding)
            if sys.byteorder == "big":
                numbers.byteswap()
            return numbers.tobytes()
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid("a vector of it is neither base64 nor numbers") from error
    raise _invalid("a vector of it is neither base64 nor numbers")


def _check_lengths(reply: EmbeddingReply, count: int) -> None:
    squares = _squared_lengths(reply) if count < NUMPY_PAYS else _squared_lengths_by_numpy(reply)
    least, most = USABLE_SQUARES
    unusable = sum(not least <= square <= most for square in squares)
    if 0 < unusable < count:
        raise ItemError(
            "EMBEDDING_VECTOR_UNUSABLE",
            f"The embedding service sent a zero, infinite or NaN vector for {unusable} of {count} texts.",
        )
    if unusable:
        raise UnusableVectorsError


def _squared_lengths(reply: EmbeddingReply) -> list[float]:
    """Not finite where a vector has a NaN or infinity anywhere, so that one pass finds zeros too."""
    vectors = struct.iter_unpack(f"<{reply.dimensions}f", reply.packed)
    return [length * length for length in (math.hypot(*vector) for vector in vectors)]


def _squared_lengths_by_numpy(reply: EmbeddingReply) -> list[float]:
    """The same, of many vectors at once."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        squares: list[float] = np.einsum("ij,ij->i", reply.vectors, reply.vectors).tolist()
    return squares


def _tokens(usage: Any) -> int | None:
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("total_tokens", usage.get("prompt_tokens"))
    return tokens if type(tokens) is int and tokens >= 0 else None


def _invalid(what: str) -> TransientError:
    return TransientError(
        "EMBEDDING_RESPONSE_INVALID",
        f"The embedding service's answer cannot be used: {what}. It is asked again; if this lasts, check the service.",
    )
