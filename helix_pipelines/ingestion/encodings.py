"""Which encoding a whole file is in. The first kilobyte is no evidence: the one byte that decides may stand in the last line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from helix_pipelines.resilience.errors import FileRejectedError

UTF_8 = "utf-8"

# Longest first: the mark of UTF-32-LE begins with that of UTF-16-LE.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEGACY = (
    "cp932", "gb18030", "euc_jp", "cp949", "big5", "cp950", "big5hkscs", "cp1252", "cp1250", "iso8859_2", "cp1251", "koi8_r",
    "koi8_u", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "mac_roman", "cp850", "cp852", "cp866",
)  # fmt: skip
_SHOWN_NAMES = {"euc_jp": "euc-jp", "iso8859_2": "iso-8859-2", "koi8_r": "koi8-r", "koi8_u": "koi8-u"}

BLOCK_BYTES = 1 << 18
SAMPLE_BYTES = 1 << 16
SAMPLE_BYTES_A_BLOCK = 1 << 14
"""The sample for guessing is drawn from several blocks, as exports often begin with a stretch of plain English."""

STRAY_BYTE_EVERY = 20_000
"""One undecodable byte in so many is an accident in a UTF-8 file; a file in a legacy encoding has far more of them."""
JSON_STRAY_SHARE = 0.01
"""JSON is UTF-8 by its standard, so more has to speak against it."""
LEGACY_STRAY_SHARE = 0.001
TIE = 0.05
"""Differences in disorder below this say nothing between encodings of the Latin alphabet."""
_LATIN = ("cp1252", "cp1254", "cp1250", "iso8859_2", "cp1257", "mac_roman", "cp850", "cp852")
"""In the order in which they are met."""
WORD_SIGNS = "’‘´·"

_UNDECODED = re.compile("[\udc80-\udcff]")
_C1 = bytes(range(0x80, 0xA0))
_TURKISH = frozenset(b"\xd0\xdd\xde\xf0\xfd\xfe")
_ICELANDIC = frozenset(b"\xc1\xc9\xcd\xd3\xc6\xe1\xe9\xed\xf3\xe6\xfa")


@dataclass(frozen=True, slots=True)
class Encoding:
    """`name` is a Python codec. The flags say what a reader has to look for: bytes that do not decode, NUL characters."""

    name: str
    has_bad_bytes: bool = False
    has_nul: bool = False

    @property
    def errors(self) -> str:
        """The codec's error handler: undecodable bytes are carried along where their rows have to be found."""
        return "surrogateescape" if self.has_bad_bytes else "strict"


@dataclass(slots=True)
class _Utf8Scan:
    total: int = 0
    valid: int = 0
    """Characters beyond ASCII."""
    bad: int = 0
    """Bytes that are not UTF-8."""
    has_nul: bool = False
    sample: bytes = b""


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark, or the zero bytes of unmarked UTF-16, announce."""
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    return _unmarked_utf_16(head)


def detect_encoding(open_binary: Callable[[], BinaryIO], *, is_json: bool, declared: str | None = None) -> Encoding:
    """Read the whole file once (files in a legacy encoding twice or more) in blocks.

    `declared` is the encoding that a page names. It is believed unless the file is valid UTF-8 with characters beyond ASCII:
    browsers and editors save pages as UTF-8 and leave the declaration as it was.

    Raises FileRejectedError (ENCODING_UNKNOWN).
    """
    with open_binary() as binary:
        head = binary.read(BLOCK_BYTES)
    marked = marked_encoding(head)
    if marked is not None:
        return checked_encoding(open_binary, marked)
    if b"\x1b$B" in head or b"\x1b$@" in head:
        return checked_encoding(open_binary, "iso2022_jp")
    scan = _scan_utf_8(open_binary)
    if declared is not None and (scan.bad or not scan.valid) and codecs.lookup(declared).name != UTF_8:
        believed = _believed_encoding(open_binary, declared)
        if believed is not None:
            return believed
    if not scan.bad:
        return Encoding(UTF_8, has_nul=scan.has_nul)
    stray = scan.total * JSON_STRAY_SHARE if is_json else scan.total / STRAY_BYTE_EVERY
    if scan.bad <= max(scan.valid, stray):
        return Encoding(UTF_8, has_bad_bytes=True, has_nul=scan.has_nul)
    return _legacy_encoding(open_binary, scan.sample)


def _believed_encoding(open_binary: Callable[[], BinaryIO], declared: str) -> Encoding | None:
    """The declared encoding, None where the file shows that it is in another one."""
    try:
        return checked_encoding(open_binary, declared)
    except FileRejectedError:
        return None


def checked_encoding(open_binary: Callable[[], BinaryIO], name: str) -> Encoding:
    """A known encoding, with its flaws. Raises FileRejectedError (ENCODING_UNKNOWN) where it cannot be the right one."""
    try:
        b" ".decode(name, "replace")  # refuses codecs that do not make text, too
    except LookupError as error:
        raise FileRejectedError("ENCODING_UNKNOWN", f"There is no encoding named {name!r}.") from error
    try:
        chars, bad, has_nul = _count(open_binary, name)
    except UnicodeDecodeError as error:
        raise _unknown(
            f"It is marked as {name} but does not decode ({error.reason} at byte {error.start:,})."
        ) from error
    if bad > max(1, chars * JSON_STRAY_SHARE):
        raise _unknown(f"It was taken for {name}, in which {bad:,} of its bytes mean nothing.")
    return Encoding(name, has_bad_bytes=bad > 0, has_nul=has_nul)


def _scan_utf_8(open_binary: Callable[[], BinaryIO]) -> _Utf8Scan:
    scan = _Utf8Scan()
    decoder = codecs.getincrementaldecoder(UTF_8)("surrogateescape")
    for block in _blocks(open_binary):
        scan.total += len(block)
        scan.has_nul = scan.has_nul or b"\0" in block
        text = decoder.decode(block, final=not block)
        if text.isascii():
            continue
        bad = _bad_bytes(text)
        scan.bad += bad
        scan.valid += len(text) - len(text.encode("ascii", "ignore")) - bad
        if len(scan.sample) < SAMPLE_BYTES:
            scan.sample += _telling_lines(block, is_first=scan.total == len(block))
        elif scan.bad > SAMPLE_BYTES and scan.bad > scan.valid:
            break  # certainly not UTF-8, the rest of the file cannot change that
    return scan


def _telling_lines(block: bytes, *, is_first: bool) -> bytes:
    """Lines with bytes beyond ASCII, whole ones where there are any: half a character would mislead the guess."""
    lines = block.splitlines(keepends=True)
    whole = lines[0 if is_first else 1 : -1 if len(block) == BLOCK_BYTES else None]
    telling, size = [], 0
    for line in whole:
        if not line.isascii():
            telling.append(line)
            size += len(line)
            if size >= SAMPLE_BYTES_A_BLOCK:
                break
    return b"".join(telling)[:SAMPLE_BYTES] if telling else b"".join(lines)[:SAMPLE_BYTES]


def _legacy_encoding(open_binary: Callable[[], BinaryIO], sample: bytes) -> Encoding:
    flawed: Encoding | None = None
    for name in _ranked(sample):
        chars, bad, has_nul = _count(open_binary, name)
        if not bad:
            return Encoding(_shown_name(open_binary, name), has_nul=has_nul)
        if flawed is None and bad <= chars * LEGACY_STRAY_SHARE:
            flawed = Encoding(_SHOWN_NAMES.get(name, name), has_bad_bytes=True, has_nul=has_nul)
    if flawed is None:
        raise _unknown("It is neither UTF-8 nor in one of the older encodings that were tried.")
    return flawed


def _ranked(sample: bytes) -> list[str]:
    """Legacy encodings that make sense of the sample, the most plausible first."""
    from charset_normalizer import from_bytes

    for cut in range(4):  # the sample may end within a character of up to four bytes
        matches = from_bytes(sample[: len(sample) - cut], cp_isolation=list(_LEGACY))
        if matches:
            break
    else:
        return []
    ranked = [match.encoding for match in matches]
    if ranked[0] not in _LATIN:
        return ranked
    close = [match for match in matches if match.chaos <= matches[0].chaos + TIE]
    # A match stands for all encodings that decode the sample to the same text.
    names = {name for match in close for name in (match.encoding, *match.could_be_from_charset)}
    tied = [name for name in _LATIN if name in names]
    return list(dict.fromkeys([*sorted(tied, key=lambda name: _oddity(sample, name)), *ranked]))


def _oddity(sample: bytes, name: str) -> int:
    """How often a Latin encoding puts a sign inside a word, a capital after a small letter, or Icelandic beside Turkish.

    What is right in one of these encodings looks like that in the others: `Jak zmieniæ has³o`, `Pa§wort`, `Šndern`.
    """
    text = sample.decode(name, "ignore")
    odd = 0
    for before, char, after in zip(text, text[1:], text[2:], strict=False):
        if char <= "\x7f" or not before.isalpha():
            continue
        is_sign = not char.isalpha() and not char.isspace() and char not in WORD_SIGNS and after.isalpha()
        odd += is_sign or (char.isupper() and before.islower())
    if name in {"cp1252", "cp1254"}:
        turkish = sum(byte in _TURKISH for byte in sample) > sum(byte in _ICELANDIC for byte in sample)
        odd += turkish == (name == "cp1252")
    return odd


def _shown_name(open_binary: Callable[[], BinaryIO], name: str) -> str:
    """The plainest name: cp1252 without any of the characters that it adds is Latin-1."""
    if name == "cp1252" and all(len(block.translate(None, _C1)) == len(block) for block in _blocks(open_binary)):
        return "latin-1"
    return _SHOWN_NAMES.get(name, name)


def _count(open_binary: Callable[[], BinaryIO], name: str) -> tuple[int, int, bool]:
    """Characters, undecodable bytes and whether there are NULs, in the whole file."""
    decoder = codecs.getincrementaldecoder(name)("surrogateescape")
    chars = bad = 0
    has_nul = False
    for block in _blocks(open_binary):
        text = decoder.decode(block, final=not block)
        chars += len(text)
        bad += _bad_bytes(text)
        has_nul = has_nul or "\0" in text
    return chars, bad, has_nul


def _bad_bytes(text: str) -> int:
    try:
        text.encode()  # an order of magnitude faster than a search, and most blocks have none
    except UnicodeEncodeError:
        return len(_UNDECODED.findall(text))
    return 0


def _blocks(open_binary: Callable[[], BinaryIO]) -> Iterator[bytes]:
    """The file in blocks; an empty one marks its end."""
    with open_binary() as binary:
        while block := binary.read(BLOCK_BYTES):
            yield block
    yield b""


def _unmarked_utf_16(head: bytes) -> str | None:
    """UTF-16 without a mark: the one of its two byte orders that has line ends, in a text without strange characters.

    ASCII in UTF-16 is every second byte zero. Chinese has few zeros, but is no UTF-8, as a text with some stray NULs is.
    """
    even = head[: len(head) // 2 * 2]
    zeros = even.count(0)
    if zeros < 2 or (zeros < len(even) // 20 and _is_utf_8(head)):  # noqa: PLR2004 - a line end and a separator
        return None
    texts = {name: even.decode(name, "replace") for name in ("utf-16-le", "utf-16-be")}
    name, text = max(texts.items(), key=lambda item: item[1].count("\n"))
    strange = sum(not (char.isprintable() or char.isspace()) or char == "\ufffd" for char in text)
    return name if "\n" in text and strange <= len(text) // 100 else None


def _is_utf_8(head: bytes) -> bool:
    """Whether the start of a file decodes; its last character may be cut."""
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _unknown(reason: str) -> FileRejectedError:
    return FileRejectedError(
        "ENCODING_UNKNOWN",
        f"The characters of the file cannot be read. {reason} Save it as UTF-8 and hand it over again.",
    )
