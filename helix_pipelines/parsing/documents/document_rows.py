"""From the pairs found in a document (Markdown, HTML) to rows, and what readers of documents share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.columns import map_columns, unique_names
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note, NoteCode
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.text import BOM, storable
from helix_pipelines.resilience.errors import FileRejectedError

LONG_TEXT_CHARS_KEPT = 2_000
"""What is kept of a text refused for its length."""
SECTION_CHARS = 500
"""Of each heading above a question; they are repeated with every row below them."""
SEEN_HEADINGS = 10
SEEN_HEADING_CHARS = 60

NUL_SIGN = "\ufdd1"
BYTE_SIGN = "\ufdd0"
"""Noncharacters, which no text uses: they carry NULs and undecodable bytes through parsers that would swap or refuse them."""
_UNDECODED = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CARRIED_BYTE = re.compile(f"{BYTE_SIGN}([0-9a-f]{{2}})")


@dataclass(slots=True)
class Pair:
    """A question and what is said to it, as a document has them; either may be blank. `extra` is metadata."""

    question: str
    answer: str
    category: str | None = None
    url: str | None = None
    external_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """The pairs of a document in their order. `mapping` names the structure: role -> what plays it. `notes`: what is left out."""

    mapping: dict[str, str]
    pairs: list[Pair] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class DocumentReader:
    """The rows of a document that was read whole: `Found` checked pair by pair."""

    version: str

    def __init__(self, found: Found, limits: ParseLimits) -> None:
        self.mapping = found.mapping
        self.notes = found.notes
        self._pairs = found.pairs
        self._limits = limits

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` pairs, in document order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        for number, pair in enumerate(self._pairs[skip:], start=skip + 1):
            yield [_row(number, pair, self._limits)], len(pair.question) + len(pair.answer)


def read_document(request: ReadRequest, most_bytes: int | None = None) -> str:
    """The whole text of a file, without its byte order mark; NULs and undecodable bytes are carried as signs.

    `most_bytes` is a format's own cap beside `ParseLimits.document_bytes`.

    Raises FileRejectedError: DOCUMENT_TOO_LARGE, and those of a compressed file.
    """
    configured = request.limits.document_bytes
    longest = configured if most_bytes is None else min(configured, most_bytes)
    sniffed = request.sniffed
    with open_plain(request.source, sniffed.compression, request.limits) as binary:
        data = binary.read(longest + 1)
    if len(data) > longest:
        message = (
            f"The document has more than {longest:,} bytes, which is more than is held in memory at once. Split it"
        )
        hint = ", or raise HELIX_MAX_DOCUMENT_BYTES." if longest == configured else "."
        raise FileRejectedError("DOCUMENT_TOO_LARGE", message + hint)
    text = data.decode(sniffed.encoding or "utf-8", sniffed.errors).removeprefix(BOM)
    if sniffed.has_bad_bytes:
        text = _UNDECODED.sub(lambda found: f"{BYTE_SIGN}{ord(found[0]) - 0xDC00:02x}", text)
    return text.replace("\0", NUL_SIGN)


def questions_not_found(known: str) -> FileRejectedError:
    """The refusal of a document without pairs; `known` says which structures are recognised."""
    return FileRejectedError(
        "QUESTIONS_NOT_FOUND", f"No questions and answers were found in the document. Recognised are {known}."
    )


def most_pairs(structures: Sequence[Found]) -> Found | None:
    """The structure that holds most pairs, the first of equals; None where there are none at all."""
    best = max(structures, key=lambda found: len(found.pairs))
    return best if best.pairs else None


def table_pairs(
    header: Sequence[str], records: Sequence[Sequence[str]], explicit: Mapping[str, str]
) -> list[Pair] | None:
    """The pairs of a table in a document, None where its header names no question and answer. Blank records are none.

    Raises UsageError (MAPPING_ROLE_UNKNOWN).
    """
    try:
        positions = map_columns([name.strip() for name in header], explicit)
    except FileRejectedError:  # the tables of a document are of all kinds; this one is about something else
        return None
    names = unique_names(header)
    roles = {at: role for role, at in positions.items()}
    pairs = []
    for record in records:
        if not any(cell.strip() for cell in record):
            continue
        pair = Pair("", "")
        for at, cell in enumerate(record[: len(names)]):
            if at in roles and (cell or roles[at] in {"question", "answer"}):
                setattr(pair, roles[at], cell)
            elif cell:
                pair.extra[names[at]] = cell
        pairs.append(pair)
    return pairs


def headings_left_out(texts: Sequence[str]) -> list[Note]:
    """The note on headings with text below that are no questions, none where there are none."""
    if not texts:
        return []
    flat = [shown(" ".join(text.split()), SEEN_HEADING_CHARS) for text in texts[:SEEN_HEADINGS]]
    more = f" and {len(texts) - SEEN_HEADINGS:,} more" if len(texts) > SEEN_HEADINGS else ""
    message = (
        f"Text below headings that are no questions was left out: {', '.join(map(repr, flat))}{more}. "
        "Word them as questions, with a question mark, to have them read."
    )
    return [Note(NoteCode.PART_LEFT_OUT, message)]


def section_fields(parents: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """Category and metadata of a question below headings: the nearest one, and all of them from the outermost on."""
    names = [shown(text, SECTION_CHARS) for text in parents]
    return (names[-1], {"section": names}) if names else (None, {})


def shown(text: str, longest: int | None = None) -> str:
    """A text as it can be stored and shown: what was carried as a sign is spelled out."""
    return storable(_CARRIED_BYTE.sub(r"\\x\1", text).replace(NUL_SIGN, "\\x00"), longest)


def _row(number: int, pair: Pair, limits: ParseLimits) -> ParsedRow:
    for name, text in (("question", pair.question), ("answer", pair.answer)):
        flaw = _flaw(name, text, limits)
        if flaw is not None:
            return _refused(number, pair, limits, *flaw)
    return ParsedRow(
        number,
        pair.question,
        pair.answer,
        external_id=_kept(pair.external_id),
        category=_kept(pair.category),
        url=_kept(pair.url),
        extra=_kept(pair.extra),
    )


def _flaw(name: str, text: str, limits: ParseLimits) -> tuple[RowCode, str] | None:
    if not text or text.isspace():
        missing = RowCode.QUESTION_MISSING if name == "question" else RowCode.ANSWER_MISSING
        return missing, f"the {name} is missing or blank"
    if BYTE_SIGN in text and (found := _CARRIED_BYTE.search(text)):
        return RowCode.BAD_ENCODING, f"the {name} has bytes that are no character, first \\x{found[1]}"
    if "\0" in text or NUL_SIGN in text:
        return RowCode.NUL_BYTE, f"the {name} contains a NUL character"
    if not text.isascii() and (half := _SURROGATE.search(text)):
        return RowCode.LONE_SURROGATE, f"the {name} contains \\u{ord(half[0]):04x} without its other half"
    if len(text) > limits.cell_chars:
        return RowCode.CELL_TOO_LONG, f"the {name} has {len(text):,} characters, {limits.cell_chars:,} are allowed"
    return None


def _refused(number: int, pair: Pair, limits: ParseLimits, code: RowCode, reason: str) -> ParsedRow:
    texts = {"question": pair.question, "answer": pair.answer, "category": pair.category, "url": pair.url}
    raw = {
        name: shown(text, LONG_TEXT_CHARS_KEPT if len(text) > limits.cell_chars else None)
        for name, text in texts.items()
        if text is not None
    }
    return ParsedRow(number, code=code, reason=reason, raw=raw | _kept(pair.extra))


def _kept(value: Any) -> Any:
    """Metadata as it can be stored; what is in it is never a reason to refuse a pair."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {_kept(key): _kept(item) for key, item in value.items()}
    return value
