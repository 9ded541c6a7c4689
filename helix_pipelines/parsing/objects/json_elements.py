"""The parts of a JSON text of any size, one at a time: elements of its lists wherever they are, with memory for one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.field_texts import is_scalar
from helix_pipelines.parsing.objects.strict_json import JSON_SPACE, StrictDecoder
from helix_pipelines.resilience.errors import FileRejectedError

Path = tuple[str, ...]
"""The keys that lead from the top of a document to a value; lists on the way add nothing."""
Unit = tuple[Path, Any, str]

NUMBER_TAIL = 3
OPENING = ("[", "{")
CONTEXT_FIELDS = 50
CONTEXT_CHARS = 10_000
"""Fields that an object hands down to the records in it are titles and versions: more or longer ones are data."""
GATHERED_CELLS = 2
"""Fields of an opened object are given away when they are this many times as long as the longest cell: a map of questions to
answers has no end, while a record that was opened for its length has a text or two."""
FIELD_LIST = 20
"""A list of so few scalars (tags, languages) is a field of its object and not a list of records."""
_SPACE = re.compile(f"[{JSON_SPACE}]*")


class JsonElements:
    """Walks over decoded text and gives it away in units that can be held.

    Iterating gives (path, value, text): the elements of a top-level array one by one, under the path (). A top-level object
    is one unit where its text has at most `limits.cell_chars` characters. A larger one is no record but wraps them: it is
    opened, and so are large objects in it. The elements of its large lists are units under the path of keys that leads to
    the list; its small lists and objects are units of their own, `{key: value}` under the path of the opened object; its
    other fields follow together as one object. `context` has the short fields of each opened object, by its path, complete
    after one pass; objects with many fields are data and have none.

    Only what makes the rest unreadable is raised, as FileRejectedError: INVALID_JSON, NESTED_TOO_DEEPLY, RECORD_TOO_LONG.
    Flaws of one unit are for `StrictDecoder.check` and `refuse_flawed` to find, right after it was given.
    """

    def __init__(self, blocks: Iterator[str], decoder: StrictDecoder, limits: ParseLimits) -> None:
        self.context: dict[Path, dict[str, Any]] = {}
        self._blocks = blocks
        self._decoder = decoder
        self._limits = limits
        self._buffer = ""
        self._at = 0
        self._passed = 0
        self._elements = 0

    def __iter__(self) -> Iterator[Unit]:
        start = self._next_char()
        if start == "{":
            whole = self._whole()
            if whole is None:
                yield from self._members(())
            else:
                yield (), *whole
        elif start == "[":
            yield from self._array(())
        else:
            raise self._invalid("a JSON array was expected")
        if self._next_char():
            raise self._invalid("there is more text after its end")

    def _array(self, path: Path) -> Iterator[Unit]:
        self._at += 1
        if self._next_char() == "]":
            self._at += 1
            return
        while True:
            value, text = self._element()
            yield path, value, text
            if self._is_last("]"):
                return

    def _members(self, path: Path) -> Iterator[Unit]:
        """The units of an object that is too large to be one."""
        if len(path) >= self._limits.nesting:
            raise FileRejectedError(
                RowCode.NESTED_TOO_DEEPLY,
                f"The file has more than {self._limits.nesting} levels of nesting. Flatten it.",
            )
        fields = _Fields()
        self._at += 1
        while True:
            key, key_text = self._key()
            start = self._next_char()
            unit = self._whole() if start in OPENING else self._element()
            if unit is None:
                inner = (*path, key)
                yield from self._array(inner) if start == "[" else self._members(inner)
            elif _is_field(unit[0]):
                fields.add(key, unit[0], key_text, unit[1])
                if fields.size > GATHERED_CELLS * self._limits.cell_chars:
                    yield path, *fields.taken(self._decoder)
            else:
                yield path, {key: unit[0]}, f"{{{key_text}:{unit[1]}}}"
            if self._is_last("}"):
                break
        if 0 < fields.count <= CONTEXT_FIELDS:
            self.context[path] = fields.first
        if fields.size:
            yield path, *fields.taken(self._decoder)

    def _key(self) -> tuple[str, str]:
        if self._next_char() != '"':
            raise self._invalid("a key in double quotes was expected")
        key, text = self._element()
        if self._next_char() != ":":
            raise self._invalid("a colon was expected")
        self._at += 1
        self._elements -= 1  # a key is no record
        return key, text

    def _is_last(self, closing: str) -> bool:
        """Pass what follows an element: `closing`, or a comma."""
        separator = self._next_char()
        if separator not in {",", closing}:
            raise self._invalid(f"a comma or {closing} was expected" if separator else "it breaks off")
        self._at += 1
        return separator == closing

    def _whole(self) -> tuple[Any, str] | None:
        """The list or object at hand, None where it is too large to be one unit, or breaks off."""
        most = self._limits.cell_chars
        while len(self._buffer) - self._at <= most and self._fill():
            pass
        try:
            value, end = self._scan()
        except json.JSONDecodeError as error:
            if len(self._buffer) - self._at > most:
                return None
            self._at = min(error.pos, len(self._buffer))
            raise self._invalid(error.msg) from error
        if end - self._at > most:
            return None
        return value, self._passed_by(end)

    def _element(self) -> tuple[Any, str]:
        if not self._next_char():
            raise self._invalid("it breaks off")
        while True:
            try:
                value, end = self._scan()
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
            return value, self._passed_by(end)

    def _scan(self) -> tuple[Any, int]:
        try:
            return self._decoder.scan(self._buffer, self._at)
        except RefusedRowError as error:
            raise FileRejectedError(
                error.code,
                f"Record {self._elements + 1} has {error.reason} (HELIX_MAX_NESTING). Flatten it, or check the export.",
            ) from error

    def _passed_by(self, end: int) -> str:
        """The text up to `end`, from where the next one starts."""
        text = self._buffer[self._at : end]
        self._at = end
        self._elements += 1
        return text

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


class _Fields:
    """The fields of an opened object that are neither objects nor lists of records, gathered to be one unit."""

    def __init__(self) -> None:
        self.first: dict[str, Any] = {}
        self.size = 0
        self.count = 0
        self._texts: list[str] = []

    def add(self, key: str, value: Any, key_text: str, text: str) -> None:
        self.count += 1
        if self.count <= CONTEXT_FIELDS and len(text) <= CONTEXT_CHARS:
            self.first[key] = value
        self._texts.append(f"{key_text}:{text}")
        self.size += len(self._texts[-1])

    def taken(self, decoder: StrictDecoder) -> tuple[Any, str]:
        """The object of what was gathered since the last time, scanned as a whole, so that keys given twice are seen."""
        text = f"{{{','.join(self._texts)}}}"
        self._texts, self.size = [], 0
        return decoder.scan(text, 0)[0], text


def _is_field(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= FIELD_LIST and all(map(is_scalar, value))
    return is_scalar(value)
