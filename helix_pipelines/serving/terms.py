"""The terms under which full text search finds a text: one recipe for documents (question and answer) and for queries.

PostgreSQL's own parsers make one token of a Japanese sentence and split `ERR-4102` at will; here words follow
Unicode's categories, codes and names stay whole beside their parts, and scripts without spaces become overlapping pairs
of characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

TERMS_VERSION = 1
"""Raised with every change of what `terms` returns: documents made by another version have to be made again."""

MAX_TERM_CHARS = 100
"""Longer words (keys, base64) are found by their beginning. PostgreSQL refuses lexemes of 2,047 bytes."""

MAX_TOTAL_CHARS = 250_000
"""All terms of one text together; PostgreSQL refuses a tsvector above 1 MiB, and a character has up to 4 bytes."""

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han and their extensions (half-width are folded).
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u3040-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
JOINERS = "_.@&+#-"

# What is left after folding: a run of an unspaced script, a Korean word, or a word. Words may be joined by single signs
# (ERR-4102, v1.2.3, foo_bar, a.b@c.de) and end in the `++` or `#` of a language's name.
_JOINER = re.compile(f"[{re.escape(JOINERS)}]")
_WORD = f"[^ {re.escape(JOINERS)}{UNSPACED}{HANGUL}]"
_ASCII_FOLDING = bytes(
    ord(char.lower()) if char.isalnum() or char in JOINERS else 32 for char in map(chr, range(128))
).ljust(256)

# Letters whose stroke or ligature Unicode does not decompose.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th"})
# Accents of Latin, Greek and Cyrillic, points of Hebrew, vowel signs of Arabic: people leave them out. Marks of other
# scripts (Thai, Devanagari, the voiced sound mark of kana) make another word and stay.
_OPTIONAL_MARKS = frozenset(map(chr, (*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x64B, 0x660), 0x670)))


class _Folding(dict[int, str]):
    """What `str.translate` makes of a character: folded letters, marks, digits, a joiner, or a space. Filled as met."""

    def __missing__(self, code: int) -> str:
        parts = unicodedata.normalize("NFKD", chr(code)).casefold().translate(_PLAIN)
        kept = unicodedata.normalize("NFC", "".join(part for part in parts if part not in _OPTIONAL_MARKS))
        self[code] = folded = "".join(map(_folded, kept))
        return folded


def _folded(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] in "LMN" or char in JOINERS:
        return char
    if category == "Pd":
        return "-"
    return "" if category == "Cf" else " "  # Cf: soft hyphens, joiners, direction marks stand inside words


_FOLDING = _Folding()


def terms(text: str) -> list[str]:
    """The distinct terms of a text, in order of first appearance; documents and queries go through it alike.

    Case, width and accents are folded. `ERR-4102` gives itself, `err` and `4102`; an e-mail address also its host;
    `v1.2.3` also `1.2.3`. Runs of unspaced scripts give their pairs of neighbouring characters and their last one;
    Korean words give themselves and the same. No term holds a space, quote or backslash, or more than MAX_TERM_CHARS
    characters.
    """
    if text.isascii():
        folded = text.encode().translate(_ASCII_FOLDING).decode()
    else:
        folded = unicodedata.normalize("NFC", text.translate(_FOLDING))
    found: list[str] = []
    for word in folded.split():
        # Nearly every word of an ASCII text is plain, and `split` finds those ten times faster than an expression.
        if word.isascii() and word.isalnum():
            found.append(word)
        else:
            _add_runs(word, found)
    distinct = list(dict.fromkeys(found))
    if len(text) > MAX_TERM_CHARS:
        distinct = _bounded(distinct)
    return distinct


def is_single_unspaced(term: str) -> bool:
    """Whether the term is one character of a script without spaces: a query for it means every word that it begins."""
    if len(term) != 1 or term.isascii():
        return False
    run = _runs().match(term)
    return run is not None and run.lastgroup != "word"


@cache
def _runs() -> re.Pattern[str]:
    """Compiled when first needed: its large sets of characters take 10 ms, and most queries hold plain words only."""
    return re.compile(
        rf"(?P<unspaced>[{UNSPACED}]+)|(?P<hangul>[{HANGUL}]+)"
        rf"|(?P<word>{_WORD}+(?:{_JOINER.pattern}{_WORD}+)*(?:\+\+|#)?)"
    )


def _add_runs(word: str, found: list[str]) -> None:
    """Append the terms of what stood between two spaces."""
    for run in _runs().finditer(word):
        token = run[0]
        kind = run.lastgroup
        if kind != "unspaced":
            found.append(token)
        if kind != "word":
            found.extend([token[at : at + 2] for at in range(len(token))])  # the last slice is one character
        elif not token.isalnum():
            found.extend(_parts(token))


def _parts(token: str) -> list[str]:
    """The words of a joined token, an address's host, a host without `www.`, a version without its `v`."""
    parts = [part for part in _JOINER.split(token) if part]
    host = token.rpartition("@")[2]
    if host != token:
        parts.append(host)
    if host.startswith("www."):
        parts.append(host[4:])
    if token[0] == "v" and token[1:2].isdigit():
        parts.append(token[1:])
    return parts


def _bounded(found: list[str]) -> list[str]:
    """The same terms cut to MAX_TERM_CHARS each and, from the front, to MAX_TOTAL_CHARS together."""
    if max(map(len, found), default=0) > MAX_TERM_CHARS:
        found = list(dict.fromkeys(term[:MAX_TERM_CHARS] for term in found))
    total = sum(map(len, found))
    while total > MAX_TOTAL_CHARS:
        total -= len(found.pop())
    return found
