"""A page, parsed within bounds: its tree, and what it says of itself."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from helix_pipelines.parsing.document_rows import Pair, section_fields
from helix_pipelines.parsing.html_text import RenderedText, is_hidden, plain
from helix_pipelines.resilience.errors import FileRejectedError

MOST_NESTED = 512
"""Browsers nest no deeper. The standard's algorithm looks through all open elements for many a tag: 100,000 take a minute."""

_TAG = re.compile(
    r"<!--(?:.*?-->|.*)|<(script|style|textarea|title|noscript|template)\b(?:.*?</\1|.*)|<(/?)([a-zA-Z][^\s/>]*)",
    re.DOTALL | re.IGNORECASE,
)
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
    "path", "rect", "circle", "line", "use", "polygon", "polyline", "ellipse", "stop",
})  # fmt: skip
"""Elements that are empty, and drawings that are written as if they were (`<path ... />`)."""
_CLOSED_BY_NEXT = {
    "p": ({"p"}, {"div", "td", "body"}),
    "li": ({"li"}, {"ul", "ol", "menu"}),
    "dt": ({"dt", "dd"}, {"dl"}),
    "dd": ({"dt", "dd"}, {"dl"}),
    "td": ({"td", "th"}, {"tr", "table"}),
    "th": ({"td", "th"}, {"tr", "table"}),
    "tr": ({"tr"}, {"table"}),
    "option": ({"option"}, {"select"}),
}
"""Elements whose end tag may be missing: the next of these closes them, unless one of those is nearer."""
_ASIDES = frozenset({"nav", "footer", "template", "noscript", "head", "dialog"})
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass(slots=True)
class Page:
    """`address` is the canonical web address, `language` what `<html lang>` says; either may be missing."""

    tree: LexborHTMLParser
    address: str | None = None
    language: str | None = None
    _is_aside: dict[int, bool] = field(default_factory=dict)

    def is_aside(self, node: LexborNode) -> bool:
        """Whether a node stands in the navigation, the footer, or a part that is not shown."""
        path = []
        at: LexborNode | None = node
        answer = False
        while at is not None:
            known = self._is_aside.get(at.mem_id)
            if known is not None:
                answer = known
                break
            path.append(at.mem_id)
            if at.tag in _ASIDES or is_hidden(at):
                answer = True
                break
            at = at.parent
        self._is_aside.update(dict.fromkeys(path, answer))
        return answer

    def pair(
        self, question: str, answer: RenderedText, parents: tuple[str, ...] = (), anchor: str | None = None, **more: Any
    ) -> Pair:
        """A pair with what the page says of all: where it stands, in which language."""
        category, extra = section_fields(parents)
        url = f"{self.address}#{anchor}" if self.address and anchor else self.address
        if anchor and not self.address:
            extra["anchor"] = anchor
        if answer.links:
            extra["links"] = answer.links
        if self.language:
            extra["language"] = self.language
        return Pair(question, answer.text, category, url, extra=extra | more)


def parse_page(text: str) -> Page:
    """Raises FileRejectedError: NESTED_TOO_DEEPLY, HTML_UNREADABLE."""
    if _nests_deeply(text):
        message = (
            f"The page nests elements more than {MOST_NESTED} deep, which no browser shows. Save it again as HTML."
        )
        raise FileRejectedError("NESTED_TOO_DEEPLY", message)
    try:
        tree = LexborHTMLParser(text)
    except (SelectolaxError, ValueError, RuntimeError) as error:
        raise FileRejectedError(
            "HTML_UNREADABLE", f"The page cannot be read ({str(error)[:200]}). Save it again."
        ) from error
    page = tree.css_first("html")
    language = (page.attributes.get("lang") or page.attributes.get("xml:lang")) if page is not None else None
    return Page(tree, _canonical_address(tree), language[:40] if language else None)


def anchor_of(node: LexborNode) -> str | None:
    """The fragment that leads to a heading: its own id, that of its permalink or anchor, or of the part that it opens."""
    own = node.attributes.get("id")
    if own:
        return own
    for link in node.css("a"):
        target = link.attributes.get("id") or link.attributes.get("name")
        href = link.attributes.get("href") or ""
        if target or ("headerlink" in (link.attributes.get("class") or "") and href.startswith("#")):
            return target or href[1:]
    parent = node.parent
    is_first = parent is not None and parent.tag in {"section", "article", "div", "li"} and not _has_text_before(node)
    return parent.attributes.get("id") or None if is_first and parent is not None else None


def _has_text_before(node: LexborNode) -> bool:
    before = node.prev
    while before is not None:
        if before.tag != "-comment" and (
            plain(before) if before.tag != "-text" else (before.text_content or "").strip()
        ):
            return True
        before = before.prev
    return False


def _nests_deeply(text: str) -> bool:
    """Whether elements are nested too deeply, judged before the page is parsed. Each tag is pushed and popped once."""
    open_tags: list[str] = []
    counts: Counter[str] = Counter()
    for found in _TAG.finditer(text):
        name = (found[3] or "").lower()
        if not name or name in _VOID:
            continue
        if found[2]:
            if counts[name]:
                _pop(open_tags, counts, name)
            continue
        if name in _CLOSED_BY_NEXT and counts[name]:
            closed, holding = _CLOSED_BY_NEXT[name]
            nearest = next(tag for tag in reversed(open_tags) if tag in closed or tag in holding)
            if nearest in closed:
                _pop(open_tags, counts, nearest)
        open_tags.append(name)
        counts[name] += 1
        if len(open_tags) > MOST_NESTED:
            return True
    return False


def _pop(open_tags: list[str], counts: Counter[str], name: str) -> None:
    """Close the innermost element of a name, and all in it."""
    last = ""
    while last != name:
        last = open_tags.pop()
        counts[last] -= 1


def _canonical_address(tree: LexborHTMLParser) -> str | None:
    for selector, attribute in (('link[rel~="canonical"]', "href"), ('meta[property="og:url"]', "content")):
        node = tree.css_first(selector)
        address = (node.attributes.get(attribute) or "").strip() if node is not None else ""
        if address.startswith(("http://", "https://")):
            return address.partition("#")[0][:2000]
    return None
