"""What a page would cost to parse, told from its tags in one pass before it is parsed.

The HTML standard repairs broken pages at any price: its parser looks through all open elements for many a tag, and opens
formatting that was never closed again in every block that follows. 45 KB can so become 2 million elements.
"""

from __future__ import annotations

import re
from collections import Counter

from helix_pipelines.resilience.errors import FileRejectedError

MOST_NESTED = 512
"""Browsers nest no deeper. The standard's algorithm looks through all open elements for many a tag: 100,000 take a minute."""
MOST_REOPENED = 200_000
"""Elements that the parser may have to add by itself; each takes 370 bytes. Pages with hundreds of unclosed <b> need few."""
ALIKE_REOPENED = 3
"""Of formatting elements that are the same in name and attributes no more are opened again (HTML standard, 13.2.4.3)."""

_TAG = re.compile(
    r"<!--(?:.*?-->|.*)|<(script|style|textarea|title|noscript|template)\b(?:.*?</\1|.*)|<(/?)([a-zA-Z][^\s/>]*)([^>]*)",
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
_FORMATTING = frozenset({
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
})  # fmt: skip
_SINGLE = frozenset({"a", "nobr"})
"""The next of these closes the last one."""
_CELLS = frozenset({"td", "th", "caption"})
"""Formatting that was open around a cell is not opened in it, and that of the cell ends with it."""
_CELL_ENDS = _CELLS | {"tr", "table", "tbody", "thead"}


def refuse_costly(text: str) -> None:
    """Raise FileRejectedError (NESTED_TOO_DEEPLY, HTML_UNREADABLE) for a page that no browser would show as it is."""
    nesting, formatting = _Nesting(), _Formatting()
    for found in _TAG.finditer(text):
        name = (found[3] or "").lower()
        if not name or name in _VOID:
            continue
        nesting.tag(name, is_end=bool(found[2]))
        formatting.tag(name, found[4], is_end=bool(found[2]))
        if nesting.depth > MOST_NESTED:
            raise FileRejectedError(
                "NESTED_TOO_DEEPLY",
                f"The page nests elements more than {MOST_NESTED} deep, which no browser shows. Save it again as HTML.",
            )
        if formatting.reopened > MOST_REOPENED:
            raise FileRejectedError(
                "HTML_UNREADABLE",
                "The page has so much formatting that is never closed that it would multiply. Save it again as HTML.",
            )


class _Nesting:
    """The elements that are open. Each tag is pushed and popped once."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._counts: Counter[str] = Counter()

    @property
    def depth(self) -> int:
        return len(self._open)

    def tag(self, name: str, *, is_end: bool) -> None:
        if is_end:
            if self._counts[name]:
                self._pop(name)
            return
        if name in _CLOSED_BY_NEXT and self._counts[name]:
            closed, holding = _CLOSED_BY_NEXT[name]
            nearest = next(tag for tag in reversed(self._open) if tag in closed or tag in holding)
            if nearest in closed:
                self._pop(nearest)
        self._open.append(name)
        self._counts[name] += 1

    def _pop(self, name: str) -> None:
        """Close the innermost element of a name, and all in it."""
        last = ""
        while last != name:
            last = self._open.pop()
            self._counts[last] -= 1


class _Formatting:
    """Formatting elements that are open, whatever was closed around them, and how often they were opened again."""

    def __init__(self) -> None:
        self.reopened = 0
        self._open: list[tuple[str, str]] = []
        self._around: list[list[tuple[str, str]]] = []

    def tag(self, name: str, attributes: str, *, is_end: bool) -> None:
        if name in _FORMATTING:
            if is_end or name in _SINGLE:
                self._close(name)
            if not is_end and self._open.count((name, attributes)) < ALIKE_REOPENED:
                self._open.append((name, attributes))
            return
        if self._around and name in _CELL_ENDS and (is_end or name != "table"):
            self._open = self._around.pop()
        if not is_end:
            if name in _CELLS:
                self._around.append(self._open)
                self._open = []
            self.reopened += len(self._open)

    def _close(self, name: str) -> None:
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at][0] == name:
                del self._open[at]
                return
