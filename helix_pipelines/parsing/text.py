"""From bytes to text to lines, in bounded windows: nothing here ever holds more than a block and one record."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 16
"""The lines of a block and the records made of them fit the CPU's cache: 256 KB blocks are read 15 % slower."""

BOM = "\ufeff"
ANY_NEWLINE = ""
r"""Lines end at \n, \r\n or \r, as in delimited files."""
UNIX_NEWLINE = "\n"
r"""Lines end at \n only: U+2028, \x0b and a lone \r belong to the text, as in JSON Lines."""

CHAR_BYTES = 4
"""No character takes more bytes in any encoding in use."""
_CUT_AFTER_DECODING = ("utf-16", "utf-32", "utf_16", "utf_32", "utf-7", "iso2022", "iso-2022")
"""Encodings in which the bytes of a line end may be part of other characters."""

_UNDECODED = re.compile("[\udc80-\udcff]")


def text_blocks(binary: BinaryIO, encoding: str, errors: str = "strict") -> Iterator[str]:
    """Decode a stream block by block; a byte order mark at its start is dropped.

    With `errors="surrogateescape"` an undecodable byte comes out as U+DC80..U+DCFF, see `undecoded`.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    at_start = True
    while block := binary.read(BLOCK_BYTES):
        text = decoder.decode(block)
        if at_start and text:
            text = text.removeprefix(BOM)
            at_start = False
        yield text
    yield decoder.decode(b"", final=True)


def line_windows(binary: BinaryIO, encoding: str, errors: str, newline: str, longest: int) -> Iterator[list[str]]:
    """Decoded lines, line ends kept, in windows of about a block; only the very last line may lack its end.

    A line that cannot be held is shortened, but still has more than `longest` characters, so that the caller can tell.
    Bytes are cut into lines before they are decoded: that is a third faster than the other way round.
    """
    if encoding.startswith(_CUT_AFTER_DECODING):
        texts = text_blocks(binary, encoding, errors)
        blocks: Iterator[bytes] = (text.encode("utf-8", "surrogatepass") for text in texts)
        codec, errors = "utf-8", "surrogatepass"
    else:
        blocks = iter(lambda: binary.read(BLOCK_BYTES), b"")
        codec = encoding.removesuffix("-sig")  # the codec would drop a mark at the start of every line
    most_bytes = CHAR_BYTES * longest
    is_first = True
    for lines in _byte_lines(blocks, newline, most_bytes):
        try:
            window = [line.decode(codec, errors) for line in lines]
        except UnicodeDecodeError:
            if max(map(len, lines)) <= most_bytes:
                raise
            window = [line.decode(codec, errors if len(line) <= most_bytes else "replace") for line in lines]
        if is_first:
            window[0] = window[0].removeprefix(BOM)
            is_first = False
        yield window


def _byte_lines(blocks: Iterable[bytes], newline: str, longest: int) -> Iterator[list[bytes]]:
    held: list[bytes] = []  # the start of a line whose end has not come yet
    held_size = 0
    for block in blocks:
        if not _has_break(block, newline) and not (held and held[-1].endswith(b"\r")):
            # Joined once at its end: a line of many blocks would else be copied as often as it has blocks.
            held.append(block[: max(0, longest + 1 - held_size)])
            held_size += len(held[-1])
            continue
        joined = b"".join([*held, block])
        lines = joined.splitlines(keepends=True) if newline == ANY_NEWLINE else io.BytesIO(joined).readlines()
        # A final \r may be the first half of \r\n, so it does not complete a line yet.
        last = b"" if lines[-1].endswith(b"\n") else lines.pop()
        held, held_size = [last[: longest + 1]], len(last)
        if lines:
            yield lines
    tail = b"".join(held)
    if tail:
        yield [tail]


def _has_break(block: bytes, newline: str) -> bool:
    return b"\n" in block or (newline == ANY_NEWLINE and b"\r" in block)


def codec_name(name: str) -> str | None:
    """Python's name of an encoding that a person named, None for what it does not know and codecs that make no text (zip)."""
    try:
        known = codecs.lookup(name)
        b"?".decode(name, errors="replace")
    except (LookupError, ValueError):
        return None
    return known.name


def undecoded(text: str) -> list[str]:
    r"""The bytes of `text` that could not be decoded, as `\xe9`; empty where all could."""
    return [f"\\x{ord(found) - 0xDC00:02x}" for found in _UNDECODED.findall(text)]


def storable(text: str, longest: int | None = None) -> str:
    r"""A text that any database column and UTF-8 file takes: NUL, lone surrogates and undecoded bytes become `\x..` or `\u....`.

    Longer than `longest` characters, it is cut and says so.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]} ... [{len(text) - longest:,} more characters]"
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    for byte in set(_UNDECODED.findall(text)):
        text = text.replace(byte, f"\\x{ord(byte) - 0xDC00:02x}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
