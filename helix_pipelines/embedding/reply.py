"""What an embedding service answered, taken apart and checked before anybody believes it."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from helix_pipelines.resilience.errors import ItemError, TransientError

Vectors = npt.NDArray[np.float32]

LITTLE_ENDIAN_FLOAT = np.dtype("<f4")
"""What `encoding_format: base64` carries, on every machine."""


@dataclass(frozen=True, slots=True)
class EmbeddingReply:
    """The vectors of one call, in the order of its texts, and what they cost.

    `vectors` has one row a text (float32, finite, none of length 0, as the service scaled them). `tokens` is what the
    service reported, or an estimate where it reported nothing. `requests` is HTTP requests sent, failed ones included.
    """

    vectors: Vectors
    tokens: int
    requests: int


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


def parse_reply(body: bytes, texts: int, dimensions: int | None) -> tuple[Vectors, int | None]:
    """Return the vectors of an answer to `texts` texts, ordered by their `index`, and the tokens it reports.

    `dimensions` is the size that every vector must have; None takes the size of the first.

    Raises TransientError (EMBEDDING_RESPONSE_INVALID) for anything that is not one finite vector of a length above 0
    for each text, WrongDimensionsError, UnusableVectorsError, and ItemError (EMBEDDING_VECTOR_UNUSABLE) where only some
    of the vectors are not usable: then the service works, and bisecting finds the text that it cannot embed.
    """
    answer = _json(body)
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != texts:
        given = f"{len(data)} vectors" if isinstance(data, list) else "no list of vectors"
        raise _invalid(f"it holds {given} for {texts} texts")
    # Numbers beyond float32 become infinite, and are found as such below.
    with np.errstate(over="ignore"):
        rows = _ordered(data)
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or 0 in sizes:
        raise _invalid("its vectors differ in size" if len(sizes) > 1 else "its vectors are empty")
    size = sizes.pop()
    if dimensions is not None and size != dimensions:
        raise WrongDimensionsError(dimensions, size)
    vectors = np.stack(rows).astype(np.float32, copy=False)
    _check_lengths(vectors)
    return vectors, _tokens(answer.get("usage"))


def _json(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(answer, dict):
        raise _invalid("it is not a JSON object")
    return answer


def _ordered(data: list[Any]) -> list[Vectors]:
    """The vectors of `data` in the order of their `index`, which has to name each place once."""
    ordered: list[Vectors | None] = [None] * len(data)
    for item in data:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < len(data) or ordered[index] is not None:
            raise _invalid("the indexes of its vectors do not name each text once")
        ordered[index] = _vector(item.get("embedding"))
    return [row for row in ordered if row is not None]


def _vector(embedding: Any) -> Vectors:
    """One vector from base64 (little-endian float32) or from a list of numbers, whichever the service chose."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(binascii.a2b_base64(embedding), LITTLE_ENDIAN_FLOAT)
        if isinstance(embedding, list):
            vector = np.array(embedding, np.float32)
            if vector.ndim == 1:
                return vector
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid("a vector of it is neither base64 nor numbers") from error
    raise _invalid("a vector of it is neither base64 nor numbers")


def _check_lengths(vectors: Vectors) -> None:
    """A NaN or infinity anywhere makes a squared length not finite, so that one pass finds zeros too."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    usable = np.isfinite(squares) & (squares > 0)
    if usable.all():
        return
    if usable.any():
        raise ItemError(
            "EMBEDDING_VECTOR_UNUSABLE",
            f"The embedding service sent a zero, infinite or NaN vector for {int((~usable).sum())} of {len(usable)}"
            f" texts.",
        )
    raise UnusableVectorsError


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
