"""What a file is, judged by its content: its name is a hint for the wording of errors and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import BinaryIO

from helix_pipelines.ingestion.charsets import declared_charset
from helix_pipelines.ingestion.dialects import Dialect, detect_dialect
from helix_pipelines.ingestion.documents import begins_with_link, is_pipe_table, is_plainly_markdown
from helix_pipelines.ingestion.encodings import Encoding, checked_encoding, detect_encoding, marked_encoding
from helix_pipelines.ingestion.signatures import binary_format, refuse_unknown_binary
from helix_pipelines.ingestion.text_formats import TextFormat, text_format
from helix_pipelines.parsing.containers.compression import GZIP_MAGIC, open_plain
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.strict_json import StrictDecoder
from helix_pipelines.parsing.text import UNIX_NEWLINE, line_windows, text_blocks
from helix_pipelines.resilience.errors import FileRejectedError

HEAD_BYTES = 1 << 18
SAMPLE_BLOCKS = 4
SAMPLE_LINE_CHARS = 1 << 18
SAMPLE_LINES = 50
"""Lines that are looked at to tell JSON Lines from one JSON text spread over lines."""

CORRECTIONS_START = '{"helix_corrections":'
"""Corrections of quarantined rows say what they are; only Helix itself writes them."""
_JSON_START = re.compile(r"\[\s*(?:[\[{\"\d\]-]|true|false|null)|\{\s*[\"}]")
"""No header begins like that, while one such as `[Question];[Answer]` is no JSON."""
_JSON_NAMES = frozenset({".json", ".jsonl", ".ndjson"})


@dataclass(frozen=True, slots=True)
class Sniffed:
    """How to read a file.

    `format` is "csv" for delimited text, "tsv" where the delimiter is a tab, "jsonl" for JSON Lines, "json" for one JSON
    text, and what `signatures.binary_format` and `text_formats` name. `encoding` is a Python codec, None for formats that
    bring their own. `compression` is None or "gzip". The flags say that some bytes of the file do not decode, or that it
    holds NUL characters: a matter of those rows, not of the file.
    """

    format: str
    encoding: str | None
    dialect: Dialect | None = None
    compression: str | None = None
    has_bad_bytes: bool = False
    has_nul: bool = False

    @property
    def errors(self) -> str:
        """The codec's error handler: undecodable bytes are carried along where a reader has to find them."""
        return "surrogateescape" if self.has_bad_bytes else "strict"


def sniff(open_binary: Callable[[], BinaryIO], name: str, limits: ParseLimits, encoding: str | None = None) -> Sniffed:
    """Find out what a file is; its bytes are streamed, two or three times over. `encoding` overrides the detection.

    Raises FileRejectedError: EMPTY_FILE, UNSUPPORTED_FORMAT, ENCRYPTED_FILE, BINARY_CONTENT, ENCODING_UNKNOWN, INVALID_JSON,
    those of a compressed file (COMPRESSION_DAMAGED, EXPANDED_TOO_LARGE, EXPANSION_RATIO) and of a container
    (`signatures.binary_format`).
    """
    compression = "gzip" if _head(open_binary).startswith(GZIP_MAGIC) else None

    def open_content() -> BinaryIO:
        return open_plain(open_binary, compression, limits)

    head = _head(open_content)
    container = binary_format(head, open_binary, compression, limits)
    if container is not None:
        return Sniffed(container, None)
    if encoding is None and marked_encoding(head) is None:
        refuse_unknown_binary(head)
    if encoding is None:
        is_json = head.lstrip().startswith((b"{", b"["))
        found = detect_encoding(open_content, is_json=is_json, declared=declared_charset(head))
    else:
        found = checked_encoding(open_content, encoding)
    kind, dialect = _structure(open_content, found, name, limits)
    return Sniffed(kind, found.name, dialect, compression, found.has_bad_bytes, found.has_nul)


def _structure(
    open_content: Callable[[], BinaryIO], found: Encoding, name: str, limits: ParseLimits
) -> tuple[str, Dialect | None]:
    """Format and, for delimited text, dialect of a file that decodes."""
    sample = _sample(open_content, found)
    start = sample.lstrip()
    if not start:
        raise FileRejectedError("EMPTY_FILE", "The file is empty. Export it again.")
    if start.startswith(CORRECTIONS_START):
        return "corrections", None
    looks_like_json = start.startswith(("{", "["))
    if (looks_like_json or "{" in sample) and _is_json_lines(open_content, found, limits):
        return "jsonl", None
    if _JSON_START.match(start):
        return "json", None
    known = text_format(start)
    dialect, names_a_pair = detect_dialect(sample, limits, may_have_title=known is None)
    if looks_like_json and not names_a_pair and not begins_with_link(start):
        return "json", None  # or what is left of it: its reader says what is wrong
    if dialect is not None and not _is_document(known, start, names_a_pair=names_a_pair):
        return ("tsv" if dialect.delimiter == "\t" else "csv"), dialect
    if known is not None and known.name is not None:
        return known.name, None
    raise _not_a_table(known, name)


def _is_document(known: TextFormat | None, start: str, *, names_a_pair: bool) -> bool:
    """Whether a text that could be cut into columns is none the less something else; `names_a_pair`: its header tells."""
    if is_pipe_table(start):
        return True
    return not names_a_pair and known is not None and (known.name != "markdown" or is_plainly_markdown(start))


def _is_json_lines(open_content: Callable[[], BinaryIO], found: Encoding, limits: ParseLimits) -> bool:
    """Whether lines are JSON texts of their own: the first of several is, or at least half of them are objects."""
    decoder = StrictDecoder(limits.nesting)
    with open_content() as binary:
        windows = line_windows(binary, found.name, found.errors, UNIX_NEWLINE, SAMPLE_LINE_CHARS)
        filled = (line for window in windows for line in window if not line.isspace())
        values = [_kind(line, decoder) for line in islice(filled, SAMPLE_LINES)]
    if len(values) < 2:  # noqa: PLR2004 - a single line is one JSON text
        return False
    return values[0] is not None or 2 * values.count(dict) >= len(values)


def _kind(line: str, decoder: StrictDecoder) -> type | None:
    """The type of the JSON text on a line; one too long to be decoded for this is judged by its start."""
    if len(line) > SAMPLE_LINE_CHARS:
        return dict if line.startswith("{") else None
    return decoder.kind(line)


def _not_a_table(known: TextFormat | None, name: str) -> FileRejectedError:
    """The refusal of a text without records, naming what it looks like."""
    if PurePath(name).suffix.lower() in _JSON_NAMES:
        return FileRejectedError(
            "INVALID_JSON", "The file is named as JSON but does not start with [ or {. Export it again as JSON."
        )
    kind = known.words if known else "plain text without columns"
    return FileRejectedError(
        "UNSUPPORTED_FORMAT",
        f"The file looks like {kind}. Hand over a table (CSV, a workbook), JSON, YAML, or an FAQ in Markdown or HTML.",
    )


def _sample(open_content: Callable[[], BinaryIO], found: Encoding) -> str:
    """The first text of a file, beyond leading blank lines."""
    with open_content() as binary:
        texts = text_blocks(binary, found.name, found.errors)
        start = next((text for text in texts if text.strip()), "")
        return start + "".join(islice(texts, SAMPLE_BLOCKS - 1))


def _head(open_binary: Callable[[], BinaryIO]) -> bytes:
    with open_binary() as binary:
        return binary.read(HEAD_BYTES)
