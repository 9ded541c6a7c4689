"""Telling Markdown and HTML by what stands in a text, wherever in it: pages begin with comments, documents with prose."""

from __future__ import annotations

import re

_TAGS = """
a abbr address article aside b base blockquote body br button center code dd details div dl dt em fieldset figure font footer
form frameset h1 h2 h3 h4 h5 h6 head header hr html i iframe img input label li link main meta nav noscript object ol p pre
script section small span strong style summary table tbody td template th thead title tr tt u ul video
"""
_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FRAGMENT = re.compile(rf"<(?:{'|'.join(_TAGS.split())})(?=[\s/>])", re.IGNORECASE)
_PROLOGUE = re.compile(r"\s*(?:<\?xml[^>]*>|<!--)", re.IGNORECASE)

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+\S")
_UNDERLINE = re.compile(r" {0,3}(?:={3,}|-{3,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_TABLE_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*){1,200}\|?[ \t]*$")
_BADGE = re.compile(r"\[?!\[[^\]\n]{0,300}\]\(")
_LINK = re.compile(r"!?\[(?:!\[)?[^\]\n]{0,300}\]\(")
_LABELLED = re.compile(
    r"[ \t]*(?:\*\*|__)(?=\S)[^\n]{1,500}?\??[ \t]*(?:\*\*|__)|\*{0,2}(?:Q|Question|Frage)\s?\d{0,4}[:.)]"
)
_QUESTION_LINE = re.compile(r"(?:\*\*)?Q\d{0,4}[:.)]")
_FOLDED = re.compile(r" {0,3}<details\b", re.IGNORECASE)
_CODE = re.compile(r"<(pre|script|style|textarea|template)\b(?:.*?</\1|.*)", re.IGNORECASE | re.DOTALL)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)

_YAML_LINE = re.compile(r"[ \t]|[-?](?:[ \t]|$)|[\w\"'./ -]{1,100}:(?:[ \t]|$)|#|---|\.\.\.|%|\*(?!\*)|[\[\]{}\"'&!|>]")
"""What a line of block YAML looks like: indented, an item, a key, a comment, a marker or a quoted or flow value."""
_YAML_KEY = re.compile(r"[ \t]*(?:-[ \t]+)*(?:[\w\"'./ -]{1,100}:(?:[ \t]|$)|-[ \t]+-[ \t])")
"""What YAML with records has: a key, or an item of an item."""
SAMPLE_LINES = 5_000
SAMPLE_CHARS = 1 << 18
PIPE_TABLE_CHARS = 1 << 14


def is_html(sample: str) -> bool:
    """Whether a text is a page or part of one, also after a byte order mark, an XML declaration or comments."""
    start = _without_prologue(sample)
    if _PAGE.match(start):
        return True
    # READMEs begin with HTML for their logo, and go on in Markdown.
    return bool(_FRAGMENT.match(start)) and not _has_markdown_blocks(_CODE.sub("", start))


def is_markdown(sample: str) -> bool:
    """Whether a text has headings or other blocks of Markdown, and is not YAML, in which `# ` begins a comment."""
    front = _FRONT_MATTER.match(sample.replace("\r\n", "\n"))
    rest = sample.replace("\r\n", "\n")[front.end() :] if front else sample
    lines = _lines(rest)
    marks = [at for at in range(len(lines)) if _is_block_start(lines, at)]
    if not marks:
        return False
    if any(_tells_markdown(lines, at) for at in marks) or _alternates(lines):
        return True
    has_prose = any(line and not _YAML_LINE.match(line) for line in lines)
    return has_prose or not any(_YAML_KEY.match(line) for line in lines)


def is_plainly_markdown(sample: str) -> bool:
    """Whether the text can be no delimited table: it begins as Markdown does, or has several questions as headings."""
    lines = _lines(sample)
    begins = bool(lines) and bool(_HEADING.match(lines[0]) or _LINK.match(lines[0]))
    if begins:
        return True
    has_quotes = any(line.startswith('"') for line in lines)  # of a cell with Markdown in it
    return not has_quotes and sum(_is_question_heading(lines, at) for at in range(len(lines))) > 1


def is_pipe_table(sample: str) -> bool:
    """Whether the text begins with a Markdown table: its second line is `|---|---|`."""
    lines = sample[:PIPE_TABLE_CHARS].splitlines()
    return len(lines) > 1 and "|" in lines[0] and _is_table_rule(lines[1])


def begins_with_link(start: str) -> bool:
    """Whether a text begins with a badge or a link, and not with a JSON array."""
    return bool(_LINK.match(start))


def _lines(text: str) -> list[str]:
    """The first lines outside of fenced code, without trailing space."""
    lines: list[str] = []
    is_code = False
    for line in text[:SAMPLE_CHARS].splitlines()[:SAMPLE_LINES]:
        if _FENCE.match(line):
            is_code = not is_code
            lines.append("```")
        elif not is_code:
            lines.append(line.rstrip())
    return lines


def _is_block_start(lines: list[str], at: int) -> bool:
    line = lines[at]
    if not line:
        return False
    follows_blank = at == 0 or not lines[at - 1]
    return bool(
        _HEADING.match(line)
        or _BADGE.match(line)
        or (follows_blank and _LABELLED.match(line))
        or _FOLDED.match(line)
        or (at and lines[at - 1] and _UNDERLINE.match(line) and (at == 1 or not lines[at - 2]))
        or _is_table_rule(line)
    )


def _tells_markdown(lines: list[str], at: int) -> bool:
    """Whether a block's start is nothing that YAML has as well."""
    line = lines[at]
    is_table = bool(at) and "|" in lines[at - 1] and _is_table_rule(line)
    is_section = _is_question_heading(lines, at) and line.lstrip().startswith("##")
    return is_table or is_section or bool(_BADGE.match(line) or _FOLDED.match(line))


def _alternates(lines: list[str]) -> bool:
    """Whether lines begin with `Q:` time and again, which would be one key given twice."""
    return "---" not in lines and sum(bool(_QUESTION_LINE.match(line)) for line in lines) > 1


def _is_question_heading(lines: list[str], at: int) -> bool:
    is_apart = at == 0 or not lines[at - 1]
    return is_apart and bool(_HEADING.match(lines[at])) and lines[at].rstrip(" #").endswith(("?", "\uff1f", "\u061f"))


def _is_table_rule(line: str) -> bool:
    return "--" in line and bool(_TABLE_RULE.match(line))


def _has_markdown_blocks(text: str) -> bool:
    lines = _lines(text)
    return any(line == "```" or _HEADING.match(line) or _BADGE.match(line) for line in lines)


def _without_prologue(text: str) -> str:
    """A text without the XML declaration and the comments that it begins with."""
    begin = 0
    while found := _PROLOGUE.match(text, begin):
        if not found[0].endswith("<!--"):
            begin = found.end()
            continue
        end = text.find("-->", found.end())
        if end < 0:
            return ""
        begin = end + 3
    return text[begin:].lstrip()
