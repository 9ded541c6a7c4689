"""Which headings of a document are questions, whatever the document is written in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from helix_pipelines.parsing.documents.question_texts import has_question_mark, is_question

_CONTENTS = frozenset(
    {"contents", "table of contents", "toc", "on this page", "inhalt", "inhaltsverzeichnis", "目录", "目次"}
)


@dataclass(frozen=True, slots=True)
class Heading:
    """`level` is 1 to 6. `has_text` says whether anything stands between it and the next heading; `anchor` is its fragment."""

    level: int
    text: str
    has_text: bool
    anchor: str | None = None


def choose_questions(headings: Sequence[Heading], *, takes_levels: bool) -> list[bool]:
    """For each heading in document order, whether it is the question of a pair.

    A heading is one that ends as a question or begins with a question word. With `takes_levels`, where most headings of a
    level that have text are questions, so are the others of that level (`Explain closures.`). Without it, as for web pages
    with headings of their own around the text, a page that sets question marks means them: headings without are none.

    A question below another question is part of its answer, unless most headings of its level are questions.
    """
    chosen = [is_question(heading.text) for heading in headings]
    if not takes_levels:
        marked = [has_question_mark(heading.text) for heading in headings]
        if 2 * sum(marked) >= sum(chosen):
            chosen = marked
    asking = _asking_levels(headings, chosen)
    if takes_levels:
        chosen = [
            is_chosen or (heading.level in asking and heading.has_text and not _is_contents(heading.text))
            for heading, is_chosen in zip(headings, chosen, strict=True)
        ]
    open_questions: list[int] = []
    for at, heading in enumerate(headings):
        while open_questions and open_questions[-1] >= heading.level:
            open_questions.pop()
        if chosen[at] and open_questions and heading.level not in asking:
            chosen[at] = False
        if chosen[at]:
            open_questions.append(heading.level)
    return chosen


def parent_texts(headings: Sequence[Heading], chosen: Sequence[bool]) -> list[tuple[str, ...]]:
    """For each heading, the texts of the headings that it stands below, outermost first, without those that are questions."""
    paths: list[tuple[str, ...]] = []
    above: list[tuple[int, str]] = []
    for heading, is_chosen in zip(headings, chosen, strict=True):
        while above and above[-1][0] >= heading.level:
            above.pop()
        paths.append(tuple(text for _, text in above if text))
        above.append((heading.level, "" if is_chosen else heading.text))
    return paths


def _asking_levels(headings: Sequence[Heading], chosen: Sequence[bool]) -> set[int]:
    """Levels most of whose headings with text are questions."""
    totals: dict[int, int] = defaultdict(int)
    questions: dict[int, int] = defaultdict(int)
    for heading, is_chosen in zip(headings, chosen, strict=True):
        if heading.has_text:
            totals[heading.level] += 1
            questions[heading.level] += is_chosen
    return {level for level, total in totals.items() if 2 * questions[level] > total}


def _is_contents(text: str) -> bool:
    return " ".join(text.casefold().split()).strip(" :") in _CONTENTS


def answer_end(at: int, headings: Sequence[Heading], chosen: Sequence[bool]) -> int:
    """The position of the heading that ends the answer below heading `at`: a question, or of its level or above it."""
    level = headings[at].level
    for later in range(at + 1, len(headings)):
        if chosen[later] or headings[later].level <= level:
            return later
    return len(headings)


def left_out(headings: Sequence[Heading], chosen: Sequence[bool]) -> list[str]:
    """The headings with text that is in no answer."""
    texts = []
    level = 0  # of the question whose answer goes on here
    for heading, is_chosen in zip(headings, chosen, strict=True):
        if is_chosen or heading.level <= level:
            level = heading.level if is_chosen else 0
        if heading.has_text and not level:
            texts.append(heading.text)
    return texts
