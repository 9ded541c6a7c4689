"""Texts that are no tables: what their start tells of their format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from helix_pipelines.ingestion.documents import is_html, is_markdown


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A format told by its start. `name` is the reader's (`parsing.readers.READERS`), None where there is none."""

    start: re.Pattern[str]
    words: str
    name: str | None


_QUOTED = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*')"""
_PLAIN = r"""[^\s\#&*!|>@`"'%\[\]{},;:?-](?:[^\n,;|\t:]|:(?=\S)){0,200}"""
_YAML_KEY = rf"(?:{_QUOTED}|{_PLAIN}|[^\n\#]{{1,300}}\?)[ \t]*:"
"""A key, in quotes or plain. Plain ones hold commas and the like only where they are questions: `question: text,answer` is a
header of columns."""
_YAML_LINE = rf"(?:[ \t][^\n]*|[#%!\]}}][^\n]*|(?:---|\.\.\.|[-?:])(?:[ \t][^\n]*)?|{_YAML_KEY}(?:[ \t][^\n]*)?|)\r?"
_YAML = re.compile(
    r"(?=(?:[ \t]*(?:#[^\n]*)?\r?\n)*(?:%YAML|---\s|!(?!\[)|[-?][ \t]" + rf"|{_YAML_KEY}(?:\s|\Z)))"
    rf"(?:(?:{_YAML_LINE}\n){{20}}|(?:{_YAML_LINE}\n)*{_YAML_LINE}\Z)"
)
"""Block YAML, its first twenty lines all being such: comments may come first, then a key, an item or a marker."""

TEXT_FORMATS = (
    TextFormat(re.compile(r"<\?xml|<[a-z][\w:-]*[ >/]", re.IGNORECASE), "an XML document", None),
    TextFormat(_YAML, "a YAML document", "yaml"),
)
HTML = TextFormat(re.compile("<"), "an HTML page", "html")
MARKDOWN = TextFormat(re.compile(""), "a Markdown document", "markdown")


def text_format(start: str) -> TextFormat | None:
    """The format of a text that begins with `start`, None for plain text."""
    if is_html(start):
        return HTML
    if is_markdown(start):
        return MARKDOWN
    return next((known for known in TEXT_FORMATS if known.start.match(start)), None)
