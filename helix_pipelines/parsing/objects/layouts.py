"""Where the records of a JSON or YAML document are: one walk for all the ways in which exports nest them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from helix_pipelines.parsing.columns import folded, has_pairs
from helix_pipelines.parsing.objects.field_texts import is_scalar
from helix_pipelines.parsing.objects.json_elements import CONTEXT_CHARS, CONTEXT_FIELDS, FIELD_LIST, Path
from helix_pipelines.parsing.objects.question_forms import joined_turns, reads_as_question
from helix_pipelines.parsing.objects.record_schemes import Recogniser, Scheme
from helix_pipelines.parsing.objects.strict_json import FlawedNumber, FlawedObject, members
from helix_pipelines.parsing.synonyms import SYNONYMS

KEYED = "*"
"""Stands in a place for the keys of an object whose members are the records."""
PAIR = Scheme("question", "answer")
MORE = "more"
AS_WRITTEN = "as written"
PARENT = "parent"
_IDENTIFIERS = frozenset(map(folded, SYNONYMS["external_id"]))


class Form(StrEnum):
    """What a record looks like: an object with keys, a list of texts, or a member `question: answer` of an object."""

    OBJECT = "object"
    LIST = "list"
    MEMBER = "member"


class Candidate(NamedTuple):
    """A record, or what stands in the place of one (`scheme` is None then).

    `place` are the keys that lead to its list, ending in `KEYED` where its object holds the records as members; `key` is
    its own key there. `above` are the fields that objects around it hand down.
    """

    form: Form
    scheme: Scheme | None
    record: Any
    place: Path
    above: Mapping[str, Any]
    key: str | None = None

    @property
    def part(self) -> Path:
        """The keys that lead to the group of records it belongs to."""
        return self.place[:-1] if self.place[-1:] == (KEYED,) else self.place

    def merged(self, part: str | None = None) -> Any:
        """Its fields with those handed down, which never replace its own nor pass for its identity.

        What is no object or has a key twice is left as it is, to be refused.
        """
        is_sound = isinstance(self.record, dict) and not isinstance(self.record, FlawedObject)
        if not is_sound or not (self.above or self.key is not None or part):
            return self.record
        fields = dict(self.record)
        for name, value in self.above.items():
            own = name in fields or names_identity(name)
            fields[_free(fields, f"{PARENT}.{name}") if own else name] = value
        if part:
            fields[_free(fields, "part")] = part
        if self.key is not None:
            fields[_free(fields, "key")] = f"{part}.{self.key}" if part else self.key
        return fields


class Walk:
    """Finds the candidates of a document, in its order, by these rules:

    - An object that `recogniser` knows is a record; what is inside of it stays its own.
    - With Form.LIST, a list of scalars in a list is a record `[question, answer, more ...]`, or one of a table whose first
      list names the columns. With Form.MEMBER, an object of texts whose keys read as questions is one record a member.
    - All other objects and lists are walked, and objects hand their scalar fields down.
    - What holds no record but lies at one of `places`, where the others are, is a candidate without a scheme; among the
      members of an object only where it has a key of a record, as settings may stand beside them.

    Values are no deeper than the nesting limit: the walk is recursive.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        forms: frozenset[Form],
        places: frozenset[Path] = frozenset(),
        headers: dict[Path, list[str] | None] | None = None,
    ) -> None:
        self._recogniser = recogniser
        self._forms = forms
        self._places = places
        self.headers: dict[Path, list[str] | None] = {} if headers is None else headers

    def element(self, value: Any, path: Path, above: Mapping[str, Any]) -> Iterator[Candidate]:
        """The candidates in an element of the list at `path`, or in a document's value at the path ()."""
        found = False
        for candidate in self._inside(value, path, path, above, None):
            found = True
            yield candidate
        header = self.headers.get(path)
        is_header = header is not None and value == header
        if found or path not in self._places or is_header:
            return
        if Form.LIST in self._forms and isinstance(value, str):
            yield Candidate(Form.LIST, PAIR, _lone_text(value), path, above)
        else:
            yield Candidate(Form.OBJECT, None, value, path, above)

    def _inside(
        self, value: Any, path: Path, place: Path, above: Mapping[str, Any], key: str | None
    ) -> Iterator[Candidate]:
        if isinstance(value, dict):
            recognised = self._recogniser.record(value, path)
            if recognised is not None:
                yield Candidate(Form.OBJECT, *recognised, place, above, key)
            elif Form.MEMBER in self._forms and is_question_map(value):
                for question, answer in members(value):
                    yield Candidate(Form.MEMBER, PAIR, {"question": question, "answer": answer}, path, above)
            else:
                yield from self._members(value, path, above)
        elif isinstance(value, list):
            if Form.LIST in self._forms and is_text_list(value):
                yield from self._listed(value, path, above)
            else:
                for item in value:
                    yield from self.element(item, path, above)

    def _members(self, value: dict[str, Any], path: Path, above: Mapping[str, Any]) -> Iterator[Candidate]:
        inner = handed_down(above, value, path[-1] if path else PARENT)
        for key, member in members(value):
            if isinstance(member, list):
                for item in member:
                    yield from self.element(item, (*path, key), inner)
            elif isinstance(member, dict):
                place, found = (*path, KEYED), False
                for candidate in self._inside(member, (*path, key), place, inner, key):
                    found = True
                    yield candidate
                if not found and place in self._places and self._recogniser.resembles(member):
                    yield Candidate(Form.OBJECT, None, member, place, inner, key)

    def _listed(self, value: list[Any], path: Path, above: Mapping[str, Any]) -> Iterator[Candidate]:
        if path not in self.headers:
            # Only the first list can be a header, and later ones need not be compared with all names there are.
            is_header = all(isinstance(item, str) for item in value) and has_pairs(value)
            self.headers[path] = value if is_header else None
            if is_header:
                return
        header = self.headers[path]
        if header is None:
            record = {"question": value[0], "answer": value[1] if len(value) > 1 else None}
            yield Candidate(Form.LIST, PAIR, record | ({MORE: value[2:]} if value[2:] else {}), path, above)
        elif value != header:
            record = dict(zip(header, value, strict=False)) | (
                {MORE: value[len(header) :]} if value[len(header) :] else {}
            )
            recognised = self._recogniser.record(record, path)
            yield Candidate(Form.LIST, recognised[0] if recognised else None, record, path, above)


def handed_down(above: Mapping[str, Any], value: dict[str, Any], label: str) -> Mapping[str, Any]:
    """The short scalar fields that an object hands down to what is in it, beside those `above` it.

    `label` tells equal names apart. An object with many fields is data and hands nothing down.
    """
    fields = dict(above)
    own = [(key, field) for key, field in members(value) if _is_handed(field)]
    if len(own) > CONTEXT_FIELDS:
        return above
    for key, field in own:
        fields[_free(fields, f"{label}.{key}") if key in fields else key] = field
    return fields


def names_identity(name: str) -> bool:
    """Whether a key names the identity of its object, which what is inside of it must not share."""
    return folded(name) in _IDENTIFIERS


def is_question_map(value: dict[str, Any]) -> bool:
    """Whether an object maps questions to answers: all values are texts and at least half of the keys read as questions."""
    if not value or not all(isinstance(field, str) for field in value.values()):
        return False
    return 2 * sum(map(reads_as_question, value)) >= len(value)


def is_text_list(value: list[Any]) -> bool:
    """Whether a list may be a record: scalars only, and a text first."""
    return bool(value) and isinstance(value[0], str) and all(map(is_scalar, value))


def _lone_text(text: str) -> dict[str, Any]:
    """The record of a text that stands where lists of turns are: its list was forgotten, its second turn may be at its end."""
    turns = joined_turns(text)
    if turns is None:
        return {"question": text, "answer": None}
    return {"question": turns[0], "answer": turns[1], AS_WRITTEN: text}


def _is_handed(field: Any) -> bool:
    if isinstance(field, list):
        return 0 < len(field) <= FIELD_LIST and all(_is_handed(item) and is_scalar(item) for item in field)
    if isinstance(field, str):
        return 0 < len(field) <= CONTEXT_CHARS
    return isinstance(field, int | float) and not isinstance(field, FlawedNumber)


def _free(fields: dict[str, Any], name: str) -> str:
    """`name`, or with a number where it is taken."""
    candidate, count = name, 2
    while candidate in fields:
        candidate, count = f"{name} ({count})", count + 1
    return candidate
