"""A page, parsed within bounds: its tree, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from helix_pipelines.parsing.documents.document_rows import Pair, section_fields
from helix_pipelines.parsing.documents.html_bounds import refuse_costly
from helix_pipelines.parsing.documents.html_text import RenderedText, is_hidden, plain
from helix_pipelines.resilience.errors import FileRejectedError

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
    refuse_costly(text)
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


def _canonical_address(tree: LexborHTMLParser) -> str | None:
    for selector, attribute in (('link[rel~="canonical"]', "href"), ('meta[property="og:url"]', "content")):
        node = tree.css_first(selector)
        address = (node.attributes.get(attribute) or "").strip() if node is not None else ""
        if address.startswith(("http://", "https://")):
            return address.partition("#")[0][:2000]
    return None
