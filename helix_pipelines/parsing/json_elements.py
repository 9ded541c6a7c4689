"""The elements of a JSON array of any size, one at a time, with memory for one element and a block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.strict_json import JSON_SPACE, StrictDecoder
from helix_pipelines.resilience.errors import FileRejectedError

NUMBER_TAIL = 3
_SPACE = re.compile(f"[{JSON_SPACE}]*")


class JsonElements:
    """Walks over decoded text; a top-level object counts as an array of one.

    Iterating gives (value, text) pairs. Only what makes the rest unreadable is raised, as FileRejectedError: INVALID_JSON,
    NESTED_TOO_DEEPLY, RECORD_TOO_LONG. Flaws of one element are for `StrictDecoder.check` to find, right after it was given.
    """

    def __init__(self, blocks: Iterator[str], decoder: StrictDecoder, limits: ParseLimits) -> None:
        self._blocks = blocks
        self._decoder = decoder
        self._limits = limits
        self._buffer = ""
        self._at = 0
        self._passed = 0
        self._elements = 0

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        start = self._next_char()
        if start == "{":
            yield self._element()
        elif start == "[":
            yield from self._array()
        else:
            raise self._invalid("a JSON array was expected")
        if self._next_char():
            raise self._invalid("there is more text after its end")

    def _array(self) -> Iterator[tuple[Any, str]]:
        self._at += 1
        if self._next_char() == "]":
            self._at += 1
            return
        while True:
            yield self._element()
            separator = self._next_char()
            self._at += 1
            if separator == "]":
                return
            if separator != ",":
                self._at -= 1
                raise self._invalid("a comma or ] was expected" if separator else "it breaks off")

    def _element(self) -> tuple[Any, str]:
        if not self._next_char():
            raise self._invalid("it breaks off")
        while True:
            try:
                value, end = self._decoder.scan(self._buffer, self._at)
            except RefusedRowError as error:
                raise FileRejectedError(
                    error.code,
                    f"Record {self._elements + 1} has {error.reason} (HELIX_MAX_NESTING). Flatten it, or check the export.",
                ) from error
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > self._limits.record_chars:
                    raise self._too_long() from error
                if not self._fill():
                    self._at = min(error.pos, len(self._buffer))
                    raise self._invalid(error.msg) from error
                continue
            # Near the end of the buffer, 12 may be the start of 123, of 12.5 or of 12e+3.
            if len(self._buffer) - end < NUMBER_TAIL and self._fill():
                continue
            if end - self._at > self._limits.record_chars:
                raise self._too_long()
            text = self._buffer[self._at : end]
            self._at = end
            self._elements += 1
            return value, text

    def _next_char(self) -> str:
        """The next character that is not space, without moving past it; empty at the end of the text."""
        while True:
            if self._at < len(self._buffer):
                char = self._buffer[self._at]
                if char not in JSON_SPACE:
                    return char
                match = _SPACE.match(self._buffer, self._at)
                self._at = match.end() if match else self._at
            elif not self._fill():
                return ""

    def _fill(self) -> bool:
        """Double what is left in the buffer, so that a long element is scanned a few times only; False at the end."""
        rest = self._buffer[self._at :]
        added: list[str] = []
        size = 0
        for block in self._blocks:
            added.append(block)
            size += len(block)
            if size > len(rest):
                break
        if not size:
            return False
        self._passed += self._at
        self._buffer, self._at = rest + "".join(added), 0
        return True

    def _invalid(self, problem: str) -> FileRejectedError:
        return FileRejectedError(
            RowCode.INVALID_JSON,
            f"The file is not valid JSON: {problem}, at character {self._passed + self._at + 1:,}, "
            f"after {self._elements:,} complete records. Export it again.",
        )

    def _too_long(self) -> FileRejectedError:
        return FileRejectedError(
            "RECORD_TOO_LONG",
            f"Record {self._elements + 1:,} is longer than {self._limits.record_chars:,} characters or is never closed. "
            "Check the export, or raise HELIX_MAX_CELL_CHARS.",
        )
