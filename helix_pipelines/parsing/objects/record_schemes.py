"""Which objects of a document are records: those in which question and answer are found, by name or as the caller says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from helix_pipelines.parsing.columns import REQUIRED_ROLES, has_pairs, map_columns
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.field_texts import is_scalar
from helix_pipelines.parsing.objects.json_elements import Path
from helix_pipelines.parsing.objects.strict_json import FlawedObject
from helix_pipelines.resilience.errors import FileRejectedError

LOOKED_INTO = 50
"""Values of a field that are looked at to tell an answer with annotations from a list of records."""
CACHED_SHAPES = 1_000
"""Records of a file have few different sets of keys; objects with keys of their own each must not fill the memory."""


class Scheme(NamedTuple):
    """The keys of question and answer that a group of records has in common."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where `--map question=data.qas.question,answer=data.qas.answers.text` leads: an object, and two ways on from there."""

    base: Path
    question: Path
    answer: Path

    def record(self, value: dict[str, Any], path: Path) -> tuple[Scheme, dict[str, Any]] | None:
        """The record that an object at `path` is, its fields at the end of longer ways made fields of its own."""
        if path[len(path) - len(self.base) :] != self.base or len(path) < len(self.base):
            return None
        if self.question[0] not in value or self.answer[0] not in value:
            return None
        record = value if isinstance(value, FlawedObject) else dict(value)
        for way in (self.question, self.answer):
            if len(way) > 1:
                found = _values_at(value, way)
                record[".".join(way)] = found[0] if len(found) == 1 else found
        return Scheme(".".join(self.question), ".".join(self.answer)), record


class Recogniser:
    """Tells records from what is around them.

    Without `known` any object counts in which question and answer are found; with it those of these schemes alone, which is
    what the whole file was found to have.
    """

    def __init__(self, explicit: Mapping[str, str], limits: ParseLimits, known: Sequence[Scheme] | None = None) -> None:
        self._explicit = {role: explicit[role] for role in REQUIRED_ROLES if role in explicit}
        self._route = route_of(self._explicit)
        self._most_keys = limits.columns
        self._known = known
        self._schemes: dict[Path, Scheme | None] = {}

    def record(self, value: dict[str, Any], path: Path) -> tuple[Scheme, dict[str, Any]] | None:
        """The scheme and the fields of an object that is a record, None where it is none."""
        for scheme in self._candidates(value):
            if scheme.question in value and scheme.answer in value:
                question, answer = value[scheme.question], value[scheme.answer]
                if not holds_records(question) and not holds_records(answer):
                    return scheme, value
        return self._route.record(value, path) if self._route else None

    def resembles(self, value: dict[str, Any]) -> bool:
        """Whether an object has at least one of the two keys of a known scheme."""
        return any(key in value for scheme in self._known or () for key in scheme)

    def _candidates(self, value: dict[str, Any]) -> Sequence[Scheme]:
        if self._known is not None:
            return self._known
        if len(value) > self._most_keys:
            return ()
        names = tuple(value)
        if names not in self._schemes:
            if len(self._schemes) == CACHED_SHAPES:
                self._schemes.clear()
            self._schemes[names] = self._scheme(names)
        found = self._schemes[names]
        return () if found is None else (found,)

    def _scheme(self, names: Path) -> Scheme | None:
        try:
            roles = map_columns(names, self._explicit)
        except FileRejectedError:
            return None  # no record; a file without any is refused with the keys that were seen
        return Scheme(names[roles["question"]], names[roles["answer"]])


def route_of(explicit: Mapping[str, str]) -> Route | None:
    """The route that dotted names describe, None where none of them is dotted. `[]` and a leading `$.` may be written."""
    ways = {role: path_of(name) for role, name in explicit.items() if role in REQUIRED_ROLES}
    if set(ways) != set(REQUIRED_ROLES) or max(map(len, ways.values())) == 1:
        return None
    question, answer = ways["question"], ways["answer"]
    if len(question) == 1 or len(answer) == 1:
        base = (question if len(answer) == 1 else answer)[:-1]
    else:
        shared = zip(question[:-1], answer[:-1], strict=False)
        base = question[
            : next((at for at, pair in enumerate(shared) if pair[0] != pair[1]), _shorter(question, answer))
        ]
    return Route(base, *(way if len(way) == 1 else way[len(base) :] for way in (question, answer)))


def path_of(name: str) -> Path:
    """The keys of a dotted name; lists on the way add nothing."""
    plain = name.replace("[]", "").removeprefix("$")
    return tuple(part.strip() for part in plain.split(".") if part.strip()) or (name,)


def holds_records(field: Any) -> bool:
    """Whether a field is or holds objects with question and answer of their own."""
    if is_scalar(field):
        return False
    remaining = [field]
    for _ in range(LOOKED_INTO):
        if not remaining:
            return False
        value = remaining.pop()
        if isinstance(value, dict):
            if len(value) <= LOOKED_INTO and _names_a_pair(tuple(value)):
                return True
            value = list(value.values())
        remaining += [item for item in value[:LOOKED_INTO] if not is_scalar(item)]
    return False


@lru_cache(maxsize=CACHED_SHAPES)
def _names_a_pair(names: Path) -> bool:
    return has_pairs(names)


def _shorter(question: Path, answer: Path) -> int:
    return min(len(question), len(answer)) - 1


def _values_at(value: dict[str, Any], way: Path) -> list[Any]:
    """What is at the end of a way, in document order."""
    found: list[Any] = [value]
    for key in way:
        objects = [item for item in _flat(found) if isinstance(item, dict)]
        found = [item[key] for item in objects if key in item]
    return list(_flat(found))


def _flat(values: list[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]
