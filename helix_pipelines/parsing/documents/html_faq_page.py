"""Questions that a page states for machines by schema.org: as JSON-LD, as microdata or as RDFa."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from selectolax.lexbor import LexborNode

from helix_pipelines.parsing.documents.document_rows import Found
from helix_pipelines.parsing.documents.html_pages import Page
from helix_pipelines.parsing.documents.html_text import RenderedText, children, plain, rendered, text_of_markup
from helix_pipelines.parsing.notes import Note, NoteCode

_WRAPPING = re.compile(r"^\s*(?://\s*)?(?:<!--|<!\[CDATA\[)|(?://\s*)?(?:-->|\]\]>)\s*;?\s*$")
_NAME_END = re.compile(r"[:/#]")
MOST_NESTED = 200
"""Levels of JSON that are looked into."""


def json_ld_pairs(page: Page) -> Found:
    """`Question` objects with an answer in the page's JSON-LD, wherever in it they stand."""
    found = Found({"question": "JSON-LD Question", "answer": "JSON-LD acceptedAnswer"})
    values, unreadable = [], 0
    for script in page.tree.css("script"):
        if (script.attributes.get("type") or "").strip().lower().startswith("application/ld+json"):
            try:
                values.append(json.loads(_WRAPPING.sub("", script.text()), strict=False))
            except (ValueError, RecursionError):
                unreadable += 1
    if unreadable:
        message = f"{unreadable} of the page's JSON-LD parts cannot be read as JSON and was left out. Correct the page."
        found.notes.append(Note(NoteCode.PART_LEFT_OUT, message))
    objects = list(_objects(values))
    named = {value["@id"]: value for value in objects if isinstance(value.get("@id"), str) and len(value) > 1}
    for value in objects:
        answers = _answers(value, named)
        if "Question" not in _types(value) or answers is None:
            continue
        name = next((text for key in ("name", "text", "headline") if (text := _text(value.get(key)))), "")
        question = " ".join(text_of_markup(name).text.split())
        texts = [text_of_markup(_text(answer.get("text")) or _text(answer.get("name"))) for answer in answers]
        links = list(dict.fromkeys(link for text in texts for link in text.links))
        joined = RenderedText("\n\n".join(text.text for text in texts if text.text), links)
        found.pairs.append(page.pair(question, joined, anchor=_fragment(value)))
    return found


def marked_pairs(page: Page) -> Found:
    """Elements marked as a schema.org `Question`, by microdata (`itemprop`) or RDFa (`property`)."""
    for kind, type_name, property_name in (("microdata", "itemtype", "itemprop"), ("RDFa", "typeof", "property")):
        found = Found({"question": f"{kind} Question", "answer": f"{kind} acceptedAnswer"})
        for node in page.tree.css(f'[{type_name}*="Question"]'):
            if not _is_outermost_question(node, type_name):
                continue
            name = _marked(node, property_name, ("name", "text", "headline"), type_name)
            answer = _marked(node, property_name, ("acceptedAnswer", "suggestedAnswer"), None)
            if name is None or answer is None:
                continue
            text = _marked(answer, property_name, ("text",), None) or answer
            found.pairs.append(
                page.pair(_value_of(name), _long_value_of(text), anchor=node.attributes.get("id") or None)
            )
        if found.pairs:
            return found
    return Found({})


def _objects(values: list[Any]) -> Iterator[dict[str, Any]]:
    """All objects in JSON values, in the order in which they are written."""
    stack = [(value, 0) for value in reversed(values)]
    while stack:
        value, depth = stack.pop()
        if depth > MOST_NESTED:
            continue
        if isinstance(value, dict):
            yield value
            stack.extend((inner, depth + 1) for inner in reversed(value.values()))
        elif isinstance(value, list):
            stack.extend((inner, depth + 1) for inner in reversed(value))


def _answers(question: dict[str, Any], named: dict[str, dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The accepted answers, else the first suggested one; None where the question has no answer at all."""
    for key in ("acceptedAnswer", "suggestedAnswer"):
        value = question.get(key)
        items = value if isinstance(value, list) else [value]
        answers = [{"text": item} if isinstance(item, str) else item for item in items]
        resolved = [named.get(item.get("@id", ""), item) for item in answers if isinstance(item, dict)]
        if resolved:
            return resolved if key == "acceptedAnswer" else resolved[:1]
    return None


def _types(value: dict[str, Any]) -> list[str]:
    types = value.get("@type", value.get("type"))
    names = types if isinstance(types, list) else [types]
    return [_NAME_END.split(name)[-1] for name in names if isinstance(name, str)]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value[:100])))
    if isinstance(value, dict):
        return _text(value.get("@value"))
    return value if isinstance(value, str) else ""


def _fragment(value: dict[str, Any]) -> str | None:
    address = value.get("@id") or value.get("url")
    return address.partition("#")[2] or None if isinstance(address, str) else None


def _is_outermost_question(node: LexborNode, type_name: str) -> bool:
    """Whether an element is a question, and not a part of another one's answer."""
    if "Question" not in _last_names(node.attributes.get(type_name)):
        return False
    at = node.parent
    while at is not None and at.tag != "-document":
        if "Question" in _last_names(at.attributes.get(type_name)):
            return False
        at = at.parent
    return True


def _last_names(attribute: str | None) -> list[str]:
    """`https://schema.org/Question`, `schema:Question` and `Question` are the same."""
    return [_NAME_END.split(name)[-1] for name in (attribute or "").split()]


def _marked(node: LexborNode, attribute: str, names: tuple[str, ...], scope: str | None) -> LexborNode | None:
    """The first element inside of a node with one of the properties; not within another thing where `scope` marks those."""
    stack = list(reversed(list(children(node))))
    while stack:
        at = stack.pop()
        if any(name in names for name in _last_names(at.attributes.get(attribute))):
            return at
        if scope is None or scope not in at.attributes:
            stack.extend(reversed(list(children(at))))
    return None


def _value_of(node: LexborNode) -> str:
    return " ".join(html.unescape(node.attributes.get("content") or "").split()) or plain(node)


def _long_value_of(node: LexborNode) -> RenderedText:
    content = node.attributes.get("content")
    return text_of_markup(content) if content else rendered(list(children(node)))
