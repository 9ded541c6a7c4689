"""What a person reads in a part of a page, as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from selectolax.lexbor import LexborHTMLParser, LexborNode

MOST_LINKS = 50
LONGEST_LINK = 2_000

_UNREAD = frozenset({
    "script", "style", "template", "noscript", "nav", "head", "iframe", "object", "svg", "canvas", "audio", "video", "footer",
    "button", "input", "select", "textarea", "datalist", "dialog",
})  # fmt: skip
"""Not part of a text: code, controls (`Copy`, `Was this helpful?`), navigation."""
_CONTROLS = frozenset({"button", "label"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li", "main", "menu",
    "ol", "optgroup", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_PERMALINK = re.compile(r"[\s¶#§🔗⚓\u2693\ufe0f]*")
_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r\f]+")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});")


@dataclass(slots=True)
class _Close:
    """The end of an element, met after everything in it."""

    tag: str


@dataclass(slots=True)
class RenderedText:
    """`text` has a line for each block, with `links` to the absolute web addresses that it points to."""

    text: str
    links: list[str] = field(default_factory=list)


def children(node: LexborNode) -> Iterator[LexborNode]:
    """The child nodes, texts and comments among them."""
    child = node.child
    while child is not None:
        yield child
        child = child.next


def plain(node: LexborNode) -> str:
    """The text of a heading, summary or other title on one line, also where it is a button."""
    return " ".join(_Writer(shows_controls=True, shows_hidden=True).write([node]).text.split())


def rendered(nodes: Sequence[LexborNode]) -> RenderedText:
    """The text of nodes in a row. Hidden parts are left out, unless nothing else is there: answers are folded away like that."""
    visible = _Writer(shows_controls=False, shows_hidden=False).write(nodes)
    return visible if visible.text else _Writer(shows_controls=False, shows_hidden=True).write(nodes)


def text_of_markup(text: str) -> RenderedText:
    """The text of a field that may hold HTML; one without tags and entities is left as it is."""
    if not _MARKUP.search(text):
        return RenderedText(text.strip())
    body = LexborHTMLParser(text).body
    return rendered([body]) if body is not None else RenderedText(text.strip())


def is_hidden(node: LexborNode) -> bool:
    """Whether an element says of itself that it is not shown."""
    attributes = node.attributes
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    style = attributes.get("style")
    return bool(style) and bool(_HIDDEN_STYLE.search(style or ""))


class _Writer:
    """Walks over nodes without recursion, as pages may be nested deeper than Python's stack."""

    def __init__(self, *, shows_controls: bool, shows_hidden: bool) -> None:
        self._unread = _UNREAD - _CONTROLS if shows_controls else _UNREAD
        self._shows_hidden = shows_hidden
        self._parts: list[str] = []
        self._at_line_start = True
        self._preformatted = 0
        self._lists: list[Iterator[int] | None] = []
        self._links: dict[str, None] = {}

    def write(self, nodes: Sequence[LexborNode]) -> RenderedText:
        stack: list[LexborNode | _Close] = list(reversed(nodes))
        while stack:
            node = stack.pop()
            if isinstance(node, _Close):
                self._close(node.tag)
            elif node.tag == "-text":
                self._text(node.text_content or "")
            elif not self._is_left_out(node):
                tag = node.tag or ""
                self._open(tag, node)
                stack.append(_Close(tag))
                stack.extend(reversed(list(children(node))))
        lines = "".join(self._parts).split("\n")
        # A line of blanks inside of preformatted text is kept as an empty one.
        return RenderedText("\n".join(line.rstrip(" \t") for line in lines).strip("\n").rstrip(), list(self._links))

    def _is_left_out(self, node: LexborNode) -> bool:
        tag = node.tag or ""
        if tag in self._unread or tag.startswith(("-", "!")):
            return True
        if not self._shows_hidden and is_hidden(node):
            return True
        href = node.attributes.get("href") if tag == "a" else None
        return bool(href) and (href or "").startswith("#") and bool(_PERMALINK.fullmatch(node.text()))

    def _open(self, tag: str, node: LexborNode) -> None:
        if tag in _BLOCKS:
            self._break()
        if tag == "br":
            self._parts.append("\n")
            self._at_line_start = True
        elif tag in {"ul", "ol"}:
            self._lists.append(count(1) if tag == "ol" else None)
        elif tag == "li":
            numbers = self._lists[-1] if self._lists else None
            indent = "  " * max(0, len(self._lists) - 1)
            self._parts.append(f"{indent}- " if numbers is None else f"{indent}{next(numbers)}. ")
        elif tag == "pre":
            self._preformatted += 1
        elif tag in {"td", "th"} and not self._at_line_start:
            self._parts.append(" | ")
            self._at_line_start = True
        elif tag == "img":
            self._text(node.attributes.get("alt") or "")
        elif tag == "a":
            self._link(node.attributes.get("href") or "")

    def _close(self, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        elif tag == "pre":
            self._preformatted -= 1
        if tag in _BLOCKS:
            self._break()

    def _break(self) -> None:
        """End the line, unless it is empty or holds a list's mark only."""
        if not self._at_line_start:
            self._parts.append("\n")
            self._at_line_start = True

    def _text(self, text: str) -> None:
        if self._preformatted:
            self._parts.append(text)
            self._at_line_start = text.endswith("\n") if text else self._at_line_start
            return
        folded = _SPACE.sub(" ", text)
        if self._at_line_start or (self._parts and self._parts[-1].endswith(" ")):
            folded = folded.removeprefix(" ")
        if folded:
            self._parts.append(folded)
            self._at_line_start = False

    def _link(self, address: str) -> None:
        is_absolute = address.startswith(("http://", "https://"))
        if is_absolute and len(address) <= LONGEST_LINK and len(self._links) < MOST_LINKS:
            self._links[address] = None
