"""A Markdown document as its outermost blocks, each with its place in the source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from helix_pipelines.parsing.documents.question_headings import Heading

HEADING_CHARS = 1_000
"""Longer headings keep their markup: to tell emphasis and links from brackets takes time that grows with the square."""
FRONT_MATTER_CHARS = 1 << 16
FRONT_MATTER_FIELDS = 20
FRONT_MATTER_VALUE_CHARS = 200

_LINE_END = re.compile(r"\r\n|\n|\r")
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?:\r\n|\n|\r)(.*?)(?:\r\n|\n|\r)(?:---|\.\.\.)[ \t]*(?:\r\n|\n|\r|\Z)", re.DOTALL
)
_FRONT_MATTER_FIELD = re.compile(r"([\w-]{1,40}):[ \t]+(\S.*)")
_ANCHOR = re.compile(r"\s*\{:?\s*#([\w:.-]{1,200})[^{}]{0,200}\}\s*$")
_INLINE = MarkdownIt("commonmark")
_MARKUP = re.compile(r"[\\`*_\[\]<&!\n\r]")
_COMMENT = re.compile(r"\s*(?:<!--.*-->\s*|<a\s[^<>]*>\s*</a>\s*)", re.DOTALL)
"""What stands between a heading and the next without being text: comments, and anchors to jump to."""


@dataclass(frozen=True, slots=True)
class Block:
    """An outermost block: `kind` is heading, paragraph, hr, html_block, table or whatever else markdown-it calls it.

    `start` and `end` are offsets into the document's `text`, `text` is what a heading or paragraph says, markup included.
    """

    kind: str
    start: int
    end: int
    level: int = 0
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of a table: header and records."""

    @property
    def is_text(self) -> bool:
        """Whether a reader of the document sees words here that belong to what is above."""
        return self.kind not in {"heading", "hr"} and not (
            self.kind == "html_block" and bool(_COMMENT.fullmatch(self.text))
        )


@dataclass(slots=True)
class MarkdownDocument:
    """`text` is the document without its front matter, to the letter; `front_matter` its plain fields.

    `headings` are those among the blocks in their order, `sections` for each block the headings above it, outermost first.
    """

    text: str
    blocks: list[Block]
    headings: list[Heading]
    sections: list[tuple[str, ...]]
    front_matter: dict[str, str]

    def source(self, start: int, end: int) -> str:
        """The source between two offsets without blank lines around it; its first line keeps its indentation."""
        if start and self.text[start - 1] not in "\r\n":
            start += len(self.text[start:end]) - len(self.text[start:end].lstrip(" \t"))
        part = self.text[start:end].rstrip()
        blank = len(part) - len(part.lstrip())
        return part[max(part.rfind("\n", 0, blank), part.rfind("\r", 0, blank)) + 1 :]


def parse_markdown(text: str) -> MarkdownDocument:
    """Cut a document into its outermost blocks by the CommonMark standard, with GitHub's tables."""
    front = _FRONT_MATTER.match(text[:FRONT_MATTER_CHARS]) if text.startswith("---") else None
    fields = _FRONT_MATTER_FIELD.findall(front[1]) if front and ":" in front[1] else []
    body = text[front.end() :] if fields and front else text
    metadata = {
        name: value.strip().strip("'\"")[:FRONT_MATTER_VALUE_CHARS] for name, value in fields[:FRONT_MATTER_FIELDS]
    }
    blocks = list(_blocks(body))
    headings = _headings(blocks)
    return MarkdownDocument(body, blocks, headings, _sections(blocks, headings), metadata)


def _headings(blocks: list[Block]) -> list[Heading]:
    """The headings among the blocks, as read by people."""
    found = []
    at_headings = [at for at, block in enumerate(blocks) if block.kind == "heading"]
    for at, following in pairwise([*at_headings, len(blocks)]):
        has_text = any(block.is_text for block in blocks[at + 1 : following])
        text, anchor = plain_text(blocks[at].text)
        found.append(Heading(blocks[at].level, text, has_text, anchor))
    return found


def plain_text(markdown: str) -> tuple[str, str | None]:
    """What one line of Markdown says without its markup, and the anchor that it names (`{#like-this}`)."""
    anchor = _ANCHOR.search(markdown[-HEADING_CHARS:])
    line = markdown[: len(markdown) - len(anchor[0])] if anchor else markdown
    if len(line) > HEADING_CHARS:
        return line, anchor[1] if anchor else None
    if not _MARKUP.search(line):
        return line.strip(), anchor[1] if anchor else None
    tokens = _INLINE.parseInline(line)
    words = "".join(map(_words, tokens[0].children or []))
    return words.strip(), anchor[1] if anchor else None


def _words(token: Token) -> str:
    if token.type in {"softbreak", "hardbreak"}:
        return " "
    return "" if token.type == "html_inline" else token.content


def _blocks(text: str) -> Iterator[Block]:
    parser = MarkdownIt("commonmark").enable("table")
    # What is inside of blocks is of no interest here, and telling it apart can take very long.
    parser.core.ruler.enableOnly(["normalize", "block"])
    lines = [0, *(found.end() for found in _LINE_END.finditer(text)), len(text)]
    tokens = parser.parse(text)
    for at, token in enumerate(tokens):
        if token.level or token.nesting < 0 or not token.map:
            continue
        start, end = (lines[min(line, len(lines) - 1)] for line in token.map)
        kind = token.type.removesuffix("_open")
        if kind == "heading":
            yield Block(kind, start, end, int(token.tag[1:]), tokens[at + 1].content)
        elif kind == "paragraph":
            yield Block(kind, start, end, text=tokens[at + 1].content)
        elif kind == "table":
            yield Block(kind, start, end, rows=_table_rows(tokens, at))
        else:
            yield Block(kind, start, end, text=token.content if kind == "html_block" else "")


def _table_rows(tokens: list[Token], at: int) -> tuple[tuple[str, ...], ...]:
    rows: list[list[str]] = []
    while tokens[at].type != "table_close":
        if tokens[at].type == "tr_open":
            rows.append([])
        elif tokens[at].type == "inline":
            rows[-1].append(tokens[at].content)
        at += 1
    return tuple(map(tuple, rows))


def _sections(blocks: list[Block], headings: list[Heading]) -> list[tuple[str, ...]]:
    following = iter(headings)
    above: list[tuple[int, str]] = []
    sections = []
    section: tuple[str, ...] = ()
    for block in blocks:
        if block.kind == "heading":
            heading = next(following)
            above = [each for each in above if each[0] < heading.level]
            above.append((heading.level, heading.text))
            section = tuple(text for _, text in above if text)
        sections.append(section)
    return sections
