"""Reader of Markdown: questions as headings, folded parts, labelled or bold paragraphs, or in a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from itertools import pairwise

from helix_pipelines.parsing.documents.document_rows import (
    DocumentReader,
    Found,
    Pair,
    headings_left_out,
    most_pairs,
    questions_not_found,
    read_document,
    section_fields,
    table_pairs,
)
from helix_pipelines.parsing.documents.markdown_blocks import Block, MarkdownDocument, parse_markdown, plain_text
from helix_pipelines.parsing.documents.question_headings import answer_end, choose_questions, left_out, parent_texts
from helix_pipelines.parsing.documents.question_texts import (
    answer_label,
    has_question_mark,
    is_question,
    question_label,
)
from helix_pipelines.parsing.request import ReadRequest

MARKDOWN_BYTES = 16 * 1024**2
"""The parser takes a second and 25 MB of memory for a megabyte; a book has two."""
KNOWN = (
    "headings that are questions with text below, <details> with a <summary>, paragraphs that begin with 'Q:' or a bold "
    "question, and tables with a question and an answer column"
)

_SUMMARY = re.compile(
    r"<summary\b[^<>]*>((?:[^<]++|<(?!/?(?:summary|details)\b))*+)</summary>|<(/?)details\b", re.IGNORECASE
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")
_BOLD = re.compile(r"[ \t]*(\*\*|__)(?=\S)(.{1,2000}?)\1", re.DOTALL)
_LINE_START = re.compile(r"(?:\r\n|\n|\r)[ \t]*")
LABEL_CHARS = 40
"""A label is shorter."""
_MARK = re.compile(r"[ \t]*(\*\*|__|\*|_|)")


class MarkdownReader(DocumentReader):
    """Reads the structure that holds most pairs; the answer is the Markdown source below its question, to the letter.

    Raises FileRejectedError: DOCUMENT_TOO_LARGE, QUESTIONS_NOT_FOUND.
    """

    version = "markdown-1"

    def __init__(self, request: ReadRequest) -> None:
        document = parse_markdown(read_document(request, MARKDOWN_BYTES))
        found = most_pairs(
            (
                heading_pairs(document),
                folded_pairs(document),
                paragraph_pairs(document),
                tabled_pairs(document, request.mapping),
            )
        )
        if found is None:
            raise questions_not_found(KNOWN)
        if document.front_matter:
            for pair in found.pairs:
                pair.extra["front_matter"] = document.front_matter
        super().__init__(found, request.limits)


def heading_pairs(document: MarkdownDocument) -> Found:
    """Questions as headings: the answer goes on to the next heading of the same or a higher level, or the next question."""
    blocks = document.blocks
    places = [*(at for at, block in enumerate(blocks) if block.kind == "heading"), len(blocks)]
    headings = document.headings
    chosen = choose_questions(headings, takes_levels=True)
    parents = parent_texts(headings, chosen)
    found = Found({"question": "heading", "answer": "text below"}, notes=headings_left_out(left_out(headings, chosen)))
    for at, heading in enumerate(headings):
        if not chosen[at]:
            continue
        end = answer_end(at, headings, chosen)
        place, following = places[at], places[end]
        answer = _source(document, blocks[place].end, place + 1, following)
        is_chapter = at + 1 < len(headings) and headings[at + 1].level > heading.level
        if answer or (has_question_mark(heading.text) and not is_chapter):
            category, extra = section_fields(parents[at])
            if heading.anchor:
                extra["anchor"] = heading.anchor
            found.pairs.append(Pair(heading.text, answer, category, extra=extra))
    return found


def folded_pairs(document: MarkdownDocument) -> Found:
    """`<details>` whose `<summary>` is a question; one that holds others is a group and no pair."""
    found = Found({"question": "summary", "answer": "details"})
    question, start = "", -1  # start of the answer, -1 outside
    for block, parents in zip(document.blocks, document.sections, strict=True):
        if block.kind != "html_block":
            continue
        for tag in _SUMMARY.finditer(document.text, block.start, block.end):
            if tag[1] is not None:
                question, start = plain_text(_TAG.sub("", unescape(tag[1])).strip())[0], tag.end()
                continue
            if tag[2] and start >= 0 and is_question(question):
                category, extra = section_fields(parents)
                found.pairs.append(Pair(question, document.source(start, tag.start()), category, extra=extra))
            start = -1
    return found


def paragraph_pairs(document: MarkdownDocument) -> Found:
    """Paragraphs that begin with `Q:` or are a bold question; the answer goes on to the next one, a heading or a rule."""
    found = Found({"question": "paragraph", "answer": "text below"})
    blocks = document.blocks
    openings = [_opening(document, block) if block.kind == "paragraph" else None for block in blocks]
    ends = [at for at, block in enumerate(blocks) if openings[at] or block.kind in {"heading", "hr"}]
    for at, following in pairwise([*ends, len(blocks)]):
        opening = openings[at]
        if opening is None:
            continue
        question, start = opening
        answer = _source(document, start, at, following)
        category, extra = section_fields(document.sections[at])
        found.pairs.append(Pair(question, answer[_answer_mark(answer) :], category, extra=extra))
    return found


def tabled_pairs(document: MarkdownDocument, explicit: Mapping[str, str]) -> Found:
    """Tables whose header names a question and an answer."""
    found = Found({"question": "table column", "answer": "table column"})
    for block, parents in zip(document.blocks, document.sections, strict=True):
        pairs = table_pairs(block.rows[0], block.rows[1:], explicit) if block.rows else None
        for pair in pairs or []:
            category, extra = section_fields(parents)
            pair.category, pair.extra = pair.category or category, extra | pair.extra
            found.pairs.append(pair)
    return found


def _source(document: MarkdownDocument, start: int, first: int, following: int) -> str:
    """The source from `start` on in block `first` to before block `following`, without rules at its end."""
    blocks = document.blocks
    end = blocks[following].start if following < len(blocks) else len(document.text)
    for block in reversed(blocks[first:following]):
        if block.kind != "hr":
            break
        end = block.start
    return document.source(start, end)


def _opening(document: MarkdownDocument, block: Block) -> tuple[str, int] | None:
    """The question that a paragraph begins with, and the offset at which its answer begins."""
    source = document.text[block.start : block.end]
    bold = _BOLD.match(source)
    if bold:
        label = question_label(bold[2])
        if label < len(bold[2]) and (label or has_question_mark(bold[2])):
            return plain_text(bold[2][label:])[0], block.start + bold.end()
    mark = _MARK.match(source)
    begin = mark.end() if mark else 0
    label = question_label(source[begin : begin + LABEL_CHARS])
    if not label:
        return None
    begin += label
    if mark and mark[1]:
        if not source.startswith(mark[1], begin):
            return None
        begin += len(mark[1])
    end = _question_end(source, begin)
    return plain_text(source[begin:end].strip())[0], block.start + end


def _question_end(source: str, begin: int) -> int:
    """Where a labelled question ends: before the line of the answer, else with the first line that ends as a question."""
    for line in _LINE_START.finditer(source, begin):
        if _answer_mark(source[line.end() : line.end() + LABEL_CHARS]):
            return line.end()
    first = _LINE_START.search(source, begin)
    return first.start() if first and has_question_mark(source[begin : first.start()]) else len(source)


def _answer_mark(text: str) -> int:
    """The length of a label such as `A:` or `**A:**` at the start of an answer."""
    mark = _MARK.match(text)
    begin = mark.end() if mark else 0
    label = answer_label(text[begin : begin + LABEL_CHARS])
    if not label or not mark:
        return 0
    end = begin + label
    if mark[1]:
        closed = text[begin:end].rstrip() and text.startswith(mark[1], end)
        return end + len(mark[1]) + (1 if text[end + len(mark[1]) :].startswith(" ") else 0) if closed else 0
    return end
