"""Questions that are headings of a page, with the text that follows them."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from helix_pipelines.parsing.documents.document_rows import Found, headings_left_out
from helix_pipelines.parsing.documents.html_pages import HEADINGS, Page, anchor_of
from helix_pipelines.parsing.documents.html_text import RenderedText, plain, rendered
from helix_pipelines.parsing.documents.question_headings import Heading, choose_questions, left_out, parent_texts
from helix_pipelines.parsing.documents.question_texts import has_question_mark

MOST_CLIMBS = 6
"""Elements that may stand around a heading alone (`div.item > div.question > h3`), before its answer comes as their sibling."""
_ENDS = frozenset({"body", "html", "main", "article", "section", "li", "tr", "table", "ul", "ol", "-document"})
"""Nothing beyond these belongs to a heading in them."""
LOWEST_LEVEL = 6


def heading_pairs(page: Page) -> Found:
    """Headings that are questions: the answer goes on to the next heading of their level or above, or the next question."""
    nodes = [node for node in page.tree.css(",".join(HEADINGS)) if not page.is_aside(node)]
    levels = [int((node.tag or "h6")[1:]) for node in nodes]
    marks = _Marks()
    for node, level in zip(nodes, levels, strict=True):
        marks.add(node, level)
    texts = [_following(node, marks, LOWEST_LEVEL).text for node in nodes]
    headings = [Heading(level, plain(node), bool(text)) for node, level, text in zip(nodes, levels, texts, strict=True)]
    chosen = choose_questions(headings, takes_levels=False)
    for node, is_chosen in zip(nodes, chosen, strict=True):
        if is_chosen:
            marks.add(node, 0)
    found = Found({"question": "heading", "answer": "text below"}, notes=headings_left_out(left_out(headings, chosen)))
    parents = parent_texts(headings, chosen)
    for at, (node, heading) in enumerate(zip(nodes, headings, strict=True)):
        if not chosen[at]:
            continue
        answer = _following(node, marks, heading.level)
        is_chapter = at + 1 < len(headings) and headings[at + 1].level > heading.level
        if answer.text or (has_question_mark(heading.text) and not is_chapter):
            found.pairs.append(page.pair(heading.text, answer, parents[at], anchor_of(node)))
    return found


class _Marks:
    """For every element, the highest level of a heading in it; questions count as level 0."""

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}

    def add(self, node: LexborNode, level: int) -> None:
        at: LexborNode | None = node
        while at is not None and self._highest.get(at.mem_id, LOWEST_LEVEL + 1) > level:
            self._highest[at.mem_id] = level
            at = at.parent

    def ends(self, node: LexborNode, level: int) -> bool:
        """Whether a node is or holds what ends the text below a heading of that level."""
        return self._highest.get(node.mem_id, LOWEST_LEVEL + 1) <= level


def _following(node: LexborNode, marks: _Marks, level: int) -> RenderedText:
    """The text after a heading: of its siblings, else of those of the elements that it stands in alone."""
    at = node
    for _ in range(MOST_CLIMBS):
        taken = []
        sibling = at.next
        while sibling is not None and not marks.ends(sibling, level):
            taken.append(sibling)
            sibling = sibling.next
        answer = rendered(taken)
        if answer.text or sibling is not None:
            return answer
        parent = at.parent
        if parent is None or parent.tag in _ENDS:
            break
        at = parent
    return RenderedText("")
