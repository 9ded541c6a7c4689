"""Vectors made of a text's hash at about a microsecond each, as the fake shares the cores with what it serves."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import orjson

PIECE = 48
"""Floats of a piece: 192 bytes are 256 characters of base64 without padding, so that encoded pieces can be joined."""
VARIANTS = 256
"""Of each piece, so that a byte of the hash chooses one."""
MAX_DIMENSIONS = 64 * PIECE
"""BLAKE2b gives 64 bytes."""


class HashedVectors:
    """Deterministic vectors of `dimensions` floats: equal texts get equal ones, others nearly at right angles.

    A vector is joined from pieces drawn by the bytes of its text's hash. They have length 1 where `dimensions` is a
    multiple of 48 (384, 768, 1536, 3072), and a little less than that otherwise.
    """

    def __init__(self, dimensions: int) -> None:
        if not 0 < dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"1 to {MAX_DIMENSIONS} dimensions, not {dimensions}")
        self.dimensions = dimensions
        self._count = -(-dimensions // PIECE)
        pieces = np.random.default_rng(dimensions).standard_normal((VARIANTS, PIECE)).astype(np.float32)
        pieces /= np.sqrt(np.einsum("ij,ij->i", pieces, pieces) * self._count)[:, None]
        self._pieces = pieces
        self._base64 = [binascii.b2a_base64(piece, newline=False) for piece in pieces]
        self._numbers = [orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for piece in pieces]

    def of(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row a text."""
        choice = np.frombuffer(b"".join(map(self._choice, texts)), np.uint8).reshape(len(texts), self._count)
        return self._pieces[choice].reshape(len(texts), -1)[:, : self.dimensions]

    def base64(self, texts: Sequence[str]) -> list[bytes]:
        """A JSON string of base64 a text."""
        if self.dimensions % PIECE:
            return [b'"%b"' % binascii.b2a_base64(vector.tobytes(), newline=False) for vector in self.of(texts)]
        pieces = self._base64
        return [b'"%b"' % b"".join([pieces[byte] for byte in self._choice(text)]) for text in texts]

    def numbers(self, texts: Sequence[str]) -> list[bytes]:
        """A JSON array of numbers a text."""
        if self.dimensions % PIECE:
            return [orjson.dumps(vector.tolist()) for vector in self.of(texts)]
        pieces = self._numbers
        return [b"[%b]" % b",".join([pieces[byte] for byte in self._choice(text)]) for text in texts]

    def _choice(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=self._count).digest()


@lru_cache(maxsize=8)
def hashed_vectors(dimensions: int) -> HashedVectors:
    """The vectors of that size; their pieces are made once."""
    return HashedVectors(dimensions)
