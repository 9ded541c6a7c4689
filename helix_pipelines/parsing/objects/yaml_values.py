"""From YAML to values without types: every scalar stays the text that stands there, and nothing is ever constructed.

PyYAML's parser (libyaml where it is there) gives events; the values are put together here, without recursion and with caps,
because composing and constructing as PyYAML does is recursive and follows aliases without end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.field_texts import is_scalar
from helix_pipelines.parsing.objects.strict_json import FlawedObject
from helix_pipelines.resilience.errors import FileRejectedError

INVALID_YAML = "INVALID_YAML"
TOO_MANY_ALIASES = "TOO_MANY_ALIASES"
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's parser takes a tenth of the time of the one in Python."""
EXPANSION = 10
EXPANSION_FROM = 1_000_000
"""With its aliases followed, a document may have ten times the characters of its text, or as many as this if that is more."""
MERGE_KEY = "<<"
KEY_CHARS = 200
"""Of a key that is no text; keys in keys in keys would double in length with each level of quoting."""
NULLS = ("", "~")
"""Plain scalars that say that there is nothing. `null` and `NO` are words of natural languages and stay texts."""


@dataclass(slots=True)
class _Node:
    """A list or mapping that is being filled. `weight` is its size with all aliases followed, in characters."""

    is_mapping: bool
    anchor: str | None
    weight: int = 1
    items: list[Any] = field(default_factory=list)
    merge_keys: set[int] = field(default_factory=set)

    def value(self) -> Any:
        if not self.is_mapping:
            return self.items
        merged: dict[str, Any] = {}
        pairs: list[tuple[str, Any]] = []
        for at in range(0, len(self.items), 2):
            key, member = self.items[at], self.items[at + 1]
            if at in self.merge_keys:
                for source in member if isinstance(member, list) else [member]:
                    merged = (source if isinstance(source, dict) else {}) | merged
            else:
                pairs.append((_key_text(key), member))
        own = dict(pairs)
        if len(own) != len(pairs):
            return FlawedObject(pairs)
        return merged | own if merged else own


class YamlValues:
    """The value of each document of a YAML text: dicts, lists, texts and None; empty documents are left out.

    Anchored values are shared and not copied. A mapping with equal keys becomes a `FlawedObject`. Tags mean nothing here.
    Raises FileRejectedError: INVALID_YAML with the line, NESTED_TOO_DEEPLY, TOO_MANY_ALIASES.
    """

    def __init__(self, text: str, limits: ParseLimits) -> None:
        self._text = text
        self._limits = limits
        self._most = max(EXPANSION_FROM, EXPANSION * len(text))
        self._aliases = 0
        self._open: list[_Node] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        loader = LOADER(self._text)
        try:
            while True:
                self._take(loader.get_event())
                if self._documents:
                    yield self._documents.pop()
                if not loader.check_event():
                    return
        except yaml.YAMLError as error:
            raise _invalid(error) from error
        finally:
            loader.dispose()

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), len(event.value) + 1, event.anchor)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node = self._open.pop()
            self._add(node.value(), node.weight, node.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._follow(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()

    def _scalar(self, event: yaml.ScalarEvent) -> str | None:
        is_plain = event.style is None or event.style == ""
        if is_plain and event.value == MERGE_KEY and self._open and self._open[-1].is_mapping:
            parent = self._open[-1]
            if len(parent.items) % 2 == 0:
                parent.merge_keys.add(len(parent.items))
        return None if is_plain and event.value in NULLS else str(event.value)

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= self._limits.nesting:
            line = _line(event)
            message = (
                f"Line {line:,} has more than {self._limits.nesting} levels of nesting (HELIX_MAX_NESTING). Flatten it."
            )
            raise FileRejectedError(RowCode.NESTED_TOO_DEEPLY, message)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Node(isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _add(self, value: Any, weight: int, anchor: str | None) -> None:
        """Put a complete value where it belongs: into the list or mapping that is open, or out as a document."""
        if anchor:
            self._anchors[anchor] = (value, weight)
        if not self._open:
            if value is not None:
                self._documents.append(value)
            return
        parent = self._open[-1]
        parent.items.append(value)
        parent.weight += weight
        if parent.weight > self._most:
            message = (
                f"With its aliases followed, the file has more than {self._most:,} characters. Write the values out."
            )
            raise FileRejectedError(TOO_MANY_ALIASES, message)

    def _follow(self, event: yaml.AliasEvent) -> None:
        self._aliases += 1
        line = _line(event)
        if self._aliases > self._limits.aliases:
            message = (
                f"Line {line:,}: more than {self._limits.aliases:,} aliases (HELIX_MAX_ALIASES). Write the values out."
            )
            raise FileRejectedError(TOO_MANY_ALIASES, message)
        if event.anchor not in self._anchors:
            problem = f"*{str(event.anchor)[:40]} refers to nothing before it, or to what it is a part of"
            raise FileRejectedError(INVALID_YAML, f"The file is not valid YAML: {problem}, in line {line:,}.")
        value, weight = self._anchors[event.anchor]
        self._add(value, weight, None)


def _line(event: yaml.Event) -> int:
    return 0 if event.start_mark is None else event.start_mark.line + 1


def _key_text(key: Any) -> str:
    """The text of a key. Lists and mappings may be keys too (`{{ name }}` of templates is one): they are shown, in brief."""
    if isinstance(key, str):
        return key
    if key is None:
        return "~"
    if all(map(is_scalar, key.values() if isinstance(key, dict) else key)):
        return json.dumps(key, ensure_ascii=False)[:KEY_CHARS]
    return "{...}" if isinstance(key, dict) else "[...]"


def _invalid(error: yaml.YAMLError) -> FileRejectedError:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed")[:200]
    place = f", in line {mark.line + 1:,}, column {mark.column + 1:,}" if mark is not None else ""
    return FileRejectedError(
        INVALID_YAML, f"The file is not valid YAML: {problem}{place}. Correct it, or export it again."
    )
