"""The texts that are embedded: a pair cut into passages by a recipe, and the text that a query is embedded as.

A recipe says which part of a pair is embedded and under which role. It belongs to a generation: vectors of two recipes
are never compared. Which one is the default was decided on data (docs/decisions/0002-hybrid-search.md).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Final
from uuid import UUID

WINDOW_TOKENS: Final = 512
"""What multilingual-e5 reads of a text at once, its two markers included; longer texts are cut here, not there."""

ROLE_TOKENS: Final = 6
"""Room for the role's prefix and the model's two markers."""

QUESTION_SHARE: Final = 0.25
"""The part of a window that the repeated question may take; of a longer one its beginning is repeated."""

OVERLAP_SHARE: Final = 0.15
"""The part of a window's answer text that the next passage repeats, so that no sentence is known only by its halves."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a pair becomes texts: prefixes as the model was trained with, and whether the answer is embedded too."""

    name: str
    query_prefix: str
    passage_prefix: str
    with_answer: bool


RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("e5:question", "query: ", "query: ", with_answer=False),
        Recipe("e5:question+answer", "query: ", "passage: ", with_answer=True),
        Recipe("plain:question+answer", "", "", with_answer=True),
    )
}
DEFAULT_RECIPE: Final = "e5:question+answer"
PLAIN_RECIPE: Final = "plain:question+answer"

# Tokens that a character costs at most in ordinary text, by what it is; measured with the model's tokenizer.
_TOKENS_ASCII: Final = 0.4
_TOKENS_OTHER: Final = 0.5
_TOKENS_WIDE: Final = 0.9
_FIRST_WIDE: Final = "\u0e00"  # from Thai on, scripts pack a word into few characters

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；…])|\n+")
_SPACE = re.compile(r"\s+")


def recipe_for(model: str) -> str:
    """The recipe of a new generation: the e5 family wants roles, other models are given the text as it is."""
    return DEFAULT_RECIPE if "e5" in re.split(r"[^a-z0-9]+", model.casefold()) else PLAIN_RECIPE


def query_text(text: str, recipe: str) -> str:
    """What a search embeds for the query `text` against a generation made by `recipe`."""
    return RECIPES[recipe].query_prefix + text.strip()


def text_hash(passage: str) -> UUID:
    """The key of a vector: blake2b-128 of the text that was sent, role included."""
    return UUID(bytes=blake2b(passage.encode(), digest_size=16).digest())


def passages(question: str, answer: str, recipe: str) -> list[str]:
    """The texts to embed for a pair, at least one; nothing of what the recipe embeds is left out.

    A pair that fits the model's window is one text. A longer one is cut at the ends of sentences where possible, with
    overlap, and every text begins with the question (with its first quarter window where it is longer than that).
    """
    form = RECIPES[recipe]
    body = answer if form.with_answer else ""
    whole = f"{question}\n{body}" if body else question
    room = WINDOW_TOKENS - ROLE_TOKENS
    if len(whole) <= room or _tokens(whole) <= room:  # a character is at most one token
        return [form.passage_prefix + whole]
    head = question
    if _tokens(question) > room * QUESTION_SHARE:
        head = question[: next(_cuts(question, room * QUESTION_SHARE))[1]]
        body = f"{question[len(head) :]}\n{body}" if body else question[len(head) :]
    prefix = f"{form.passage_prefix}{head.rstrip()}\n"
    return [prefix + body[start:end].strip() for start, end in _cuts(body, room - _tokens(head) - 1)]


def _tokens(text: str) -> float:
    """A cautious estimate of a text's tokens, by the kinds of its characters."""
    if text.isascii():
        return len(text) * _TOKENS_ASCII
    return sum(map(_char_tokens, text))


def _char_tokens(char: str) -> float:
    if char < "\x80":
        return _TOKENS_ASCII
    return _TOKENS_WIDE if char >= _FIRST_WIDE else _TOKENS_OTHER


def _cuts(text: str, tokens: float) -> Iterator[tuple[int, int]]:
    """(start, end) of the windows of at most `tokens` that cover the text, each repeating the end of the one before."""
    spent = [0.0, *accumulate(map(_char_tokens, text))]
    start = 0
    while True:
        limit = bisect_right(spent, spent[start] + tokens) - 1
        if limit >= len(text):
            yield start, len(text)
            return
        end = _last_break(text, start + (limit - start) // 2, limit)
        yield start, end
        again = bisect_right(spent, spent[end] - tokens * OVERLAP_SHARE)
        start = _next_break(text, max(again, start + 1), end)


def _last_break(text: str, first: int, limit: int) -> int:
    """Where to end a passage: after the last sentence that ends in [first, limit), else the last word, else there."""
    for border in (_SENTENCE_END, _SPACE):
        last = max((found.end() for found in border.finditer(text, first, limit)), default=None)
        if last is not None:
            return last
    return limit


def _next_break(text: str, first: int, end: int) -> int:
    """Where the repeated text begins: at the first sentence or word that begins in [first, end), else at `first`."""
    for border in (_SENTENCE_END, _SPACE):
        found = border.search(text, first, end)
        if found is not None and found.end() < end:
            return found.end()
    return first
