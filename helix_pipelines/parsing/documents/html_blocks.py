"""Questions in a page's lists and tables: `<details>`, `<dl>`, and tables with a question and an answer column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selectolax.lexbor import LexborNode

from helix_pipelines.parsing.documents.document_rows import Found, section_fields, table_pairs
from helix_pipelines.parsing.documents.html_pages import HEADINGS, Page, anchor_of
from helix_pipelines.parsing.documents.html_text import children, plain, rendered
from helix_pipelines.parsing.documents.question_texts import is_question, question_label


def folded_pairs(page: Page) -> Found:
    """`<details>`: the summary is the question, all else the answer. One that holds others is a group, their category."""
    found = Found({"question": "summary", "answer": "details"})
    entries = []
    for node, parents in _with_sections(page, "details"):
        summary = next((child for child in children(node) if child.tag == "summary"), None)
        if summary is None or len(node.css("details")) > 1:
            continue
        groups = tuple(_group_names(node))
        rest = [child for child in children(node) if child.mem_id != summary.mem_id]
        entries.append((_without_label(plain(summary)), rest, parents + groups, node))
    if _mostly_questions([question for question, *_ in entries]):
        for question, rest, parents, node in entries:
            found.pairs.append(page.pair(question, rendered(rest), parents, anchor_of(node)))
    return found


def defined_pairs(page: Page) -> Found:
    """`<dl>` most of whose terms are questions: the definitions of a term are joined, each of several terms has them all."""
    found = Found({"question": "dt", "answer": "dd"})
    for node, parents in _with_sections(page, "dl"):
        if _ancestor(node, "dd") is not None:
            continue
        groups = _definitions(node)
        if not _mostly_questions([plain(term) for terms, _ in groups for term in terms]):
            continue
        for terms, definitions in groups:
            answer = rendered(definitions)
            for term in terms:
                found.pairs.append(page.pair(_without_label(plain(term)), answer, parents, anchor_of(term)))
    return found


def tabled_pairs(page: Page, explicit: Mapping[str, str]) -> Found:
    """Tables whose first row names a question and an answer; one around other tables is a page's layout."""
    found = Found({"question": "table column", "answer": "table column"})
    tables = _with_sections(page, "table")
    around = {outer.mem_id for node, _ in tables if (outer := _ancestor(node, "table")) is not None}
    for node, parents in tables:
        if node.mem_id in around:
            continue
        rows = [
            [rendered(list(children(cell))).text for cell in children(row) if cell.tag in {"td", "th"}]
            for row in _table_rows(node)
        ]
        pairs = table_pairs(rows[0], rows[1:], explicit) if rows else None
        for pair in pairs or []:
            category, extra = section_fields(parents)
            if page.language:
                extra["language"] = page.language
            pair.category, pair.extra = pair.category or category, extra | pair.extra
            found.pairs.append(pair)
    return found


def _with_sections(page: Page, tag: str) -> list[tuple[LexborNode, tuple[str, ...]]]:
    """The elements of a kind in the page's text, with the headings above each, outermost first."""
    above: list[tuple[int, str]] = []
    found = []
    for node in page.tree.css(",".join((*HEADINGS, tag))):
        if page.is_aside(node):
            continue
        if node.tag == tag:
            found.append((node, tuple(text for _, text in above if text)))
            continue
        level = int((node.tag or "h6")[1:])
        above = [each for each in above if each[0] < level]
        above.append((level, plain(node)))
    return found


def _group_names(node: LexborNode) -> list[str]:
    names: list[str] = []
    outer = _ancestor(node, "details")
    while outer is not None:
        names += [plain(child) for child in children(outer) if child.tag == "summary"]
        outer = _ancestor(outer, "details")
    return names[::-1]


def _definitions(node: LexborNode) -> list[tuple[list[LexborNode], list[LexborNode]]]:
    """Terms with their definitions; each group may stand in a `div`."""
    groups: list[tuple[list[LexborNode], list[LexborNode]]] = []
    direct = [inner for child in children(node) for inner in (children(child) if child.tag == "div" else (child,))]
    for child in direct:
        if child.tag == "dt":
            if not groups or groups[-1][1]:
                groups.append(([], []))
            groups[-1][0].append(child)
        elif child.tag == "dd" and groups:
            groups[-1][1].append(child)
    return groups


def _table_rows(node: LexborNode) -> list[LexborNode]:
    parts = [
        part for child in children(node) for part in (children(child) if child.tag in {"thead", "tbody"} else (child,))
    ]
    return [part for part in parts if part.tag == "tr"]


def _mostly_questions(texts: Sequence[str]) -> bool:
    questions = sum(is_question(text) or question_label(text) > 0 for text in texts)
    return bool(texts) and 2 * questions >= len(texts)


def _without_label(text: str) -> str:
    return text[question_label(text) :] or text


def _ancestor(node: LexborNode, tag: str) -> LexborNode | None:
    at = node.parent
    while at is not None and at.tag != tag:
        at = at.parent
    return at
