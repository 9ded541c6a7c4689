"""How many texts go into one request: a cheap estimate of tokens, a plan of batches, and a size that follows the
service.
"""

from __future__ import annotations

from collections.abc import Sequence

MIN_TEXTS = 10
"""A service that is slow or refuses is not asked in ever smaller crumbs; its own caps may still be lower."""
MAX_TEXTS = 200
"""Texts of a request at most: beyond it a request gains nothing and a kill costs more."""
GROWTH = 1.5
SUCCESSES_TO_GROW = 3
BURST = 1.2
"""Under limits a request of TPM / RPM tokens uses both up together; the fifth above it is for short last batches."""

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
    batches: list[range] = []
    start = tokens = 0
    for position, text in enumerate(texts):
        cost = estimate_tokens(text) if max_tokens is not None else 0
        is_full = position - start >= max_texts or (max_tokens is not None and tokens + cost > max_tokens)
        if is_full and position > start:
            batches.append(range(start, position))
            start, tokens = position, 0
        tokens += cost
    if start < len(texts):
        batches.append(range(start, len(texts)))
    return batches


class BatchSizer:
    """The number of texts per request, moved by how the service answers. Not safe for threads: one drain owns it.

    `cap` is the service's own limit of texts a request, `requests_per_minute` and `tokens_per_minute` its limits;
    `tokens_per_text` an average to convert them by. None means no such limit.
    """

    def __init__(
        self,
        *,
        cap: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        tokens_per_text: float = 1.0,
    ) -> None:
        self._ceiling = max(1, min(MAX_TEXTS, cap or MAX_TEXTS))
        self._floor = min(MIN_TEXTS, self._ceiling)
        self._successes = 0
        self.max_tokens: int | None = None
        """Tokens of a request at most, where both limits of the service are known: more gains nothing."""
        if requests_per_minute and tokens_per_minute:
            self.max_tokens = max(1, int(BURST * tokens_per_minute / requests_per_minute))
            self._ceiling = max(self._floor, min(self._ceiling, int(self.max_tokens / max(tokens_per_text, 1.0))))
        self.texts = self._ceiling

    def record_success(self, seconds: float, deadline: float) -> None:
        """A request took `seconds` of the `deadline` seconds it had: after three in less than half of it, grow."""
        if seconds >= deadline / 2:
            self._successes = 0
            return
        self._successes += 1
        if self._successes >= SUCCESSES_TO_GROW:
            self._successes = 0
            self.texts = min(self._ceiling, max(self.texts + 1, int(self.texts * GROWTH)))

    def record_too_large(self) -> None:
        """A request was refused as too large (413) or ran into its deadline: halve."""
        self._successes = 0
        self.texts = max(self._floor, self.texts // 2)
