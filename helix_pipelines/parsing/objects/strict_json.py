r"""JSON by the letter of RFC 8259, with every silent repair of the usual parsers turned into a reason to refuse a record.

The standard module is used because its hooks see what others hide: yajl (ijson) stores a lone surrogate as `?`, orjson keeps
the last of two equal keys without a word, and both fail a whole array for one number beyond the range of a double.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode

JSON_SPACE = " \t\r\n"
Flaw = tuple[RowCode, str]
INTEGER_DIGITS = 18
"""Longer integers are kept as text: they are identifiers, and 64-bit writers of JSON refuse them."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class FlawedObject(dict[str, Any]):
    """An object in which a key is given more than once. `pairs` are all its members; as a dict it has the last of each key."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs
        names = [name for name, _ in pairs]
        twice = next(name for name, times in Counter(names).items() if times > 1)
        self.flaw: Flaw = (RowCode.DUPLICATE_KEY, f"the key {twice[:40]!r} is given more than once")


class FlawedNumber(float):
    """What stands in the place of a number that is none; `flaw` says what it was."""

    flaw: Flaw

    @classmethod
    def because(cls, reason: str) -> FlawedNumber:
        """A number that refuses its record for `reason`."""
        number = cls("nan")
        number.flaw = (RowCode.NON_FINITE_NUMBER, reason)
        return number


class StrictDecoder:
    """Decodes JSON texts one after the other; `nesting` is the number of brackets that may be open at once."""

    def __init__(self, nesting: int) -> None:
        self._nesting = nesting
        self._flaw: Flaw | None = None
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=self._int,
            parse_constant=self._constant,
        )

    def decode(self, text: str) -> Any:
        """The value of a whole text. Raises RefusedRowError with the first thing that is wrong with it."""
        try:
            value, end = self.scan(text, _first_filled(text))
        except json.JSONDecodeError as error:
            raise RefusedRowError(RowCode.INVALID_JSON, f"{error.msg} at character {error.pos + 1}") from error
        if text[end:].strip(JSON_SPACE):
            raise RefusedRowError(RowCode.INVALID_JSON, f"more text after the JSON value, at character {end + 1}")
        self.check(value, text)
        return value

    def scan(self, text: str, at: int) -> tuple[Any, int]:
        """The value that starts at `at` and where it ends. Flaws that leave its end clear are kept for `check`.

        Raises json.JSONDecodeError, also where the text merely breaks off; RefusedRowError (NESTED_TOO_DEEPLY).
        """
        self._flaw = None
        try:
            return self._json.raw_decode(text, at)
        except RecursionError as error:
            raise RefusedRowError(RowCode.NESTED_TOO_DEEPLY, f"more than {self._nesting} levels of nesting") from error

    def check(self, value: Any, text: str) -> None:
        """Refuse the value just scanned from `text` where it is flawed: RefusedRowError."""
        if self._flaw is not None:
            raise RefusedRowError(*self._flaw)
        self.refuse_deep(value, text)
        if "\\u" in text:
            refuse_unstorable(value)

    def refuse_deep(self, value: Any, text: str) -> None:
        """Refuse a value with more levels of nesting than allowed: RefusedRowError."""
        if text.count("[") + text.count("{") > self._nesting and depth(value, self._nesting) > self._nesting:
            raise RefusedRowError(RowCode.NESTED_TOO_DEEPLY, f"more than {self._nesting} levels of nesting")

    def may_be_flawed(self, text: str) -> bool:
        """Whether something in the value just scanned from `text` needs a look, see `refuse_flawed`."""
        return self._flaw is not None or "\\u" in text

    def kind(self, text: str) -> type | None:
        """The type of the value that a text is, flawed or not; None where it is no JSON at all."""
        try:
            value, end = self.scan(text, _first_filled(text))
        except (json.JSONDecodeError, RefusedRowError):
            return None
        return None if text[end:].strip(JSON_SPACE) else type(value)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            value = FlawedObject(pairs)
            self._flaw = self._flaw or value.flaw
        return value

    def _float(self, digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            return self._refused(f"the number {digits[:40]} is beyond the range of numbers")
        return number

    def _int(self, digits: str) -> int | str:
        return int(digits) if len(digits.lstrip("-")) <= INTEGER_DIGITS else digits

    def _constant(self, name: str) -> FlawedNumber:
        return self._refused(f"{name} is not a JSON value")

    def _refused(self, reason: str) -> FlawedNumber:
        number = FlawedNumber.because(reason)
        self._flaw = self._flaw or number.flaw
        return number


def members(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """The members of an object, those of a key given twice among them."""
    return value.pairs if isinstance(value, FlawedObject) else list(value.items())


def depth(value: Any, limit: int) -> int:
    """Levels of nesting of a JSON value, counted no further than `limit` + 1 and without recursion."""
    layer = [value]
    for level in range(limit + 1):
        containers = [item for item in layer if isinstance(item, dict | list)]
        if not containers:
            return level
        layer = [inner for outer in containers for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return limit + 1


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    remaining = [value]
    while remaining:
        item = remaining.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            remaining += item.values()
        elif isinstance(item, list):
            remaining += item


def refuse_flawed(value: Any) -> None:
    """Refuse a part of a scanned value, where the whole `may_be_flawed`: RefusedRowError with the first flaw of this part."""
    remaining = [value]
    while remaining:
        item = remaining.pop()
        if isinstance(item, FlawedObject | FlawedNumber):
            raise RefusedRowError(*item.flaw)
        if isinstance(item, dict | list):
            remaining += item.values() if isinstance(item, dict) else item
    refuse_unstorable(value)


def refuse_unstorable(value: Any) -> None:
    """Escapes can spell what no database text holds, NUL and halves of surrogate pairs: RefusedRowError."""
    for text in texts(value):
        if "\0" in text:
            raise RefusedRowError(RowCode.NUL_BYTE, "a text contains \\u0000")
        if not text.isascii() and (half := _SURROGATE.search(text)):
            raise RefusedRowError(
                RowCode.LONE_SURROGATE, f"a text contains \\u{ord(half[0]):04x} without its other half"
            )


def _first_filled(text: str) -> int:
    return len(text) - len(text.lstrip(JSON_SPACE))
