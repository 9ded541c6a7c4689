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


TEXT_FORMATS = (
    TextFormat(re.compile(r"<\?xml|<[a-z][\w:-]*[ >/]", re.IGNORECASE), "an XML document", None),
    TextFormat(
        re.compile(r"(?:\s*#[^\n]*\n)*(?:%YAML|---[ \t]*\n|[\w\"' -]+:(?:[ \t]|\n)|- )"), "a YAML document", "yaml"
    ),
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
