r"""Texts brought to one form, and the two hashes that say whether rows are the same.

What is stored is NFC without control characters, with `\n` line ends and no blank edges. `content_hash` folds white space on
top and keeps case and punctuation, so that a correction of `it` to `IT` is another content. `question_key` folds all of these
and finds rows that ask the same. Hashes are 16 bytes, the binary form of PostgreSQL's `uuid`.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b
from typing import NamedTuple

NORMALIZATION_VERSION = 1

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")
"""C0 and C1 controls but tab and line feed, and the byte order mark; PostgreSQL refuses NUL, nobody can see the others."""
_LINE_ENDS = re.compile(r"\r\n?")
_NEEDS_CARE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_NOT_WORD = re.compile(r"[^\w]+")
_ASCII_WORDS = bytes(ord(char.lower()) if char.isalnum() or char == "_" else 32 for char in map(chr, range(128))).ljust(
    256
)
"""What case folding and `_NOT_WORD` make of ASCII, as a table: the key is made in less than half the time."""


def normalize(text: str) -> str:
    """The stored form of a text. One that is nothing but control characters keeps them, as a row is never emptied."""
    if _NEEDS_CARE.search(text):
        text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", text)).strip() or text
    if not (text.isascii() or unicodedata.is_normalized("NFC", text)):
        text = unicodedata.normalize("NFC", text)
    return text.strip()


def content_hash(question: str, answer: str) -> bytes:
    """Identity of a pair's content (128 bits of BLAKE2b over both normalised texts with white space folded)."""
    return _digest(f"{' '.join(question.split())}\x1f{' '.join(answer.split())}")


def question_key(question: str) -> bytes:
    """Match key of a question: compatibility forms, case, punctuation and white space folded.

    A question that is all punctuation or emoji keeps its characters, as nothing else would tell it from others.
    """
    if question.isascii():
        folded = b" ".join(question.encode().translate(_ASCII_WORDS).split()).decode()
    else:
        folded = _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", question).casefold()).strip()
    return _digest(folded or " ".join(question.split()))


def external_key(external_id: str) -> bytes:
    """Match key of an id that the file's owner gave to a row."""
    return _digest(external_id.strip())


class MatchKeys(NamedTuple):
    """By what a row is matched to others; `external` is None for a row without an id."""

    content: bytes
    question: bytes
    external: bytes | None


def match_keys(question: str, answer: str, external_id: str | None) -> MatchKeys:
    """The keys of a row whose question and answer have been normalised."""
    return MatchKeys(
        content_hash(question, answer), question_key(question), external_key(external_id) if external_id else None
    )


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
