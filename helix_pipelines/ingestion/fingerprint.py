"""The identity of a file is the SHA-256 of its bytes; names and times say nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`sha256` in lower-case hexadecimal and the number of bytes it covers."""

    sha256: str
    bytes: int


def fingerprint_blocks(blocks: Iterable[bytes]) -> Fingerprint:
    """Of content that comes in blocks."""
    digest = hashlib.sha256()
    size = 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    return Fingerprint(digest.hexdigest(), size)


def fingerprint(path: Path) -> Fingerprint:
    """Read the file once, in blocks. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Fingerprint(digest.hexdigest(), file.tell())
