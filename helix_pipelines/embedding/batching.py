"""How many texts go into one request: a cheap estimate of tokens, a plan of batches, and a size that follows the
service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat

MIN_TEXTS = 10
"""A service that is slow or refuses is not asked in ever smaller crumbs; its own caps may still be lower."""
MAX_TEXTS = 200
"""Texts of a request at most: beyond it a request gains nothing and a kill costs more."""
GROWTH = 1.5
SUCCESSES_TO_GROW = 3
BURST = 1.2
"""Under limits a request of TPM / RPM tokens uses both up together; the fifth above it is for short last batches."""
SHARE_OF_TOKENS = 0.007
"""Of a minute's tokens in a request: the gate leaves room for one request at a window's edge, so larger ones cost budget."""
NARROWING = 2
"""Halvings of a batch for each failed attempt of its texts: what fails again and again is alone after four."""

ASCII_CHARS_PER_TOKEN = 4
"""English text in the vocabularies of OpenAI and e5."""
WIDE_SCRIPT_START = 0x2E80
"""First code point of the East Asian scripts; they, and all above, take about one token a character."""


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` costs, by script, in well under a microsecond for ASCII; at least 1.

    ASCII counts a quarter of a token a character, other alphabets (two UTF-8 bytes and Indic scripts) half a token,
    East Asian scripts and emoji one. Running text costs less than that, strings of codes and digits up to twice as
    much; reported usage corrects both.
    """
    if text.isascii():
        return len(text) // ASCII_CHARS_PER_TOKEN + 1
    ascii_chars = len(text.encode("ascii", "ignore"))
    wide = sum(1 for char in text if ord(char) >= WIDE_SCRIPT_START)
    return ascii_chars // ASCII_CHARS_PER_TOKEN + (len(text) - ascii_chars - wide) // 2 + wide + 1


def plan_batches(texts: Sequence[str], max_texts: int, max_tokens: int | None = None) -> list[range]:
    """Cut `texts` into consecutive batches, given as ranges of positions that cover all of them in order.

    A batch holds at most `max_texts` texts and, but for a single text that is longer by itself, `max_tokens` estimated
    tokens.
    """
    costs = map(estimate_tokens, texts) if max_tokens is not None else repeat(0, len(texts))
    return [
        range(start, end) for start, end in pairwise(accumulate(batch_sizes(costs, max_texts, max_tokens), initial=0))
    ]


def batch_sizes(costs: Iterable[int], max_texts: int, max_tokens: int | None = None) -> Iterator[int]:
    """The same plan for texts of which only the tokens are known: how many texts each batch holds."""
    size = tokens = 0
    for cost in costs:
        if size and (size >= max_texts or (max_tokens is not None and tokens + cost > max_tokens)):
            yield size
            size = tokens = 0
        size += 1
        tokens += cost
    if size:
        yield size


class BatchSizer:
    """The number of texts per request, moved by how the service answers. Not safe for threads: one drain owns it.

    `deadline` is the seconds that a request may take, `cap` the service's own limit of texts a request, `requests_per_minute`
    and `tokens_per_minute` its limits. None means no such limit.
    """

    def __init__(
        self,
        *,
        deadline: float,
        cap: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._deadline = deadline
        self._ceiling = max(1, min(MAX_TEXTS, cap or MAX_TEXTS))
        self._floor = min(MIN_TEXTS, self._ceiling)
        self._successes = 0
        self._passed = 0
        self._refused: int | None = None
        self.max_tokens: int | None = None
        """Tokens of a request at most, where the service limits them: more gains nothing."""
        if tokens_per_minute:
            share = BURST / requests_per_minute if requests_per_minute else SHARE_OF_TOKENS
            self.max_tokens = max(1, int(share * tokens_per_minute))
        self.texts = self._ceiling

    def after(self, attempts: int) -> int:
        """Texts of a request for those that were part of so many failed ones: fewer each time, at last one alone."""
        return max(1, self.texts >> (NARROWING * attempts))

    def record_success(self, seconds: float) -> None:
        """A request took `seconds`: after three in less than half of the deadline, grow."""
        self._passed = max(self._passed, self.texts)
        if seconds >= self._deadline / 2:
            self._successes = 0
            return
        self._successes += 1
        if self._successes >= SUCCESSES_TO_GROW:
            self._successes = 0
            self.texts = min(self._ceiling, self._next_size())

    def record_too_large(self, texts: int) -> None:
        """A request of `texts` texts was refused as too large (413): shrink, and never grow to that size again."""
        self._successes = 0
        self._refused = min(self._refused or texts, texts)
        self._ceiling = max(1, min(self._ceiling, texts - 1))
        if self._passed >= texts:
            self._passed = 0  # those texts were shorter
        self.texts = min(self._ceiling, self._passed or max(1, self.texts // 2))

    def record_timed_out(self) -> None:
        """A request ran into its deadline: halve."""
        self._successes = 0
        self.texts = max(min(self._floor, self._ceiling), self.texts // 2)

    def _next_size(self) -> int:
        """Half as much again, but no more than half the way to a size that was refused."""
        grown = max(self.texts + 1, int(self.texts * GROWTH))
        return grown if self._refused is None else min(grown, (self.texts + self._refused) // 2)
