"""What bytes are when they are not text: known signatures, and a measure for the unknown ones."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import BinaryIO

from helix_pipelines.parsing.containers.compound import COMPOUND_MAGIC, root_names
from helix_pipelines.parsing.containers.packages import open_package, package_kind
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError

_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_WORKBOOK_PARTS = (b"xl/", b"opendocument.spreadsheet")
"""What the first bytes of a workbook's container mention, for one whose directory is lost."""

_PARQUET = b"PAR1"
_PARQUET_ENCRYPTED = b"PARE"

_COMPOUND_KINDS = (
    ("EncryptedPackage", "ENCRYPTED_FILE", "an Office document that is protected by a password"),
    ("WordDocument", "UNSUPPORTED_FORMAT", "an old Word document (.doc)"),
    ("PowerPoint Document", "UNSUPPORTED_FORMAT", "an old PowerPoint presentation (.ppt)"),
    ("__properties_version1.0", "UNSUPPORTED_FORMAT", "an Outlook message (.msg)"),
)

_SIGNATURES = (
    (b"%PDF", "UNSUPPORTED_FORMAT", "a PDF document"),
    (b"SQLite format 3\0", "UNSUPPORTED_FORMAT", "an SQLite database"),
    (b"ARROW1", "UNSUPPORTED_FORMAT", "an Arrow file"),
    (b"Obj\x01", "UNSUPPORTED_FORMAT", "an Avro file"),
    (b"{\\rtf", "UNSUPPORTED_FORMAT", "a rich text document (.rtf)"),
    (b"7z\xbc\xaf\x27\x1c", "UNSUPPORTED_FORMAT", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "UNSUPPORTED_FORMAT", "a RAR archive"),
    (b"BZh", "UNSUPPORTED_FORMAT", "a bzip2-compressed file"),
    (b"\xfd7zXZ\0", "UNSUPPORTED_FORMAT", "an xz-compressed file"),
    (b"\x28\xb5\x2f\xfd", "UNSUPPORTED_FORMAT", "a Zstandard-compressed file"),
    (b"\x1f\x8b", "UNSUPPORTED_FORMAT", "a file compressed twice"),
    (b"\x89PNG", "BINARY_CONTENT", "a PNG image"),
    (b"\xff\xd8\xff", "BINARY_CONTENT", "a JPEG image"),
    (b"GIF8", "BINARY_CONTENT", "a GIF image"),
    (b"\x7fELF", "BINARY_CONTENT", "a program"),
    (b"MZ\x90\0", "BINARY_CONTENT", "a program"),
)

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
TOLERATED_CONTROLS = 16
"""Real texts hold the odd control character (copied from terminals, test strings); each becomes a matter of its row."""
BINARY_SHARE = 0.05
"""Random bytes have 11 % of them, compressed ones as many; the worst text of the test set has 0.2 %."""


def binary_format(
    head: bytes, open_binary: Callable[[], BinaryIO], compression: str | None, limits: ParseLimits
) -> str | None:
    """The format of a file that its signature tells: xlsx, xlsb, xls, ods, parquet or zip; None where it may be text.

    `head` is the start of its content, unpacked where `compression` says so. Raises FileRejectedError: UNSUPPORTED_FORMAT,
    ENCRYPTED_FILE, BINARY_CONTENT, DAMAGED_WORKBOOK, DAMAGED_ARCHIVE, DAMAGED_PARQUET, TOO_MANY_MEMBERS.
    """
    look = _container_look(head)
    if look is not None:
        if compression is not None:
            raise FileRejectedError(
                "UNSUPPORTED_FORMAT",
                f"The file is a workbook, an archive or a Parquet file compressed by {compression}, which saves nothing. "
                "Unpack it and hand it over as it is.",
            )
        with open_binary() as binary:
            return look(binary, head, limits)
    for signature, code, kind in _SIGNATURES:
        if head.startswith(signature):
            raise _rejected(code, kind)
    return None


def refuse_unknown_binary(head: bytes) -> None:
    """Raise FileRejectedError (BINARY_CONTENT) where bytes in a one-byte or UTF-8 encoding cannot be text."""
    controls = len(_CONTROL.findall(head))
    if controls > max(TOLERATED_CONTROLS, BINARY_SHARE * len(head)):
        raise _rejected("BINARY_CONTENT", "not a text but binary data, or a damaged file")


def _container_look(head: bytes) -> Callable[[BinaryIO, bytes, ParseLimits], str] | None:
    """Who looks into a container to tell what it holds; their directories lie at other places than the start."""
    if head.startswith(COMPOUND_MAGIC):
        return _compound_format
    if head.startswith(_ZIP):
        return _package_format
    if head.startswith((_PARQUET, _PARQUET_ENCRYPTED)):
        return _parquet_format
    return None


def _compound_format(binary: BinaryIO, _: bytes, __: ParseLimits) -> str:
    names = root_names(binary)
    for name, code, kind in _COMPOUND_KINDS:
        if name in names:
            raise _rejected(code, kind)
    if {"workbook", "book"}.isdisjoint(name.lower() for name in names):
        raise _rejected("UNSUPPORTED_FORMAT", "an old Office document or installer that is no workbook")
    return "xls"


def _package_format(binary: BinaryIO, head: bytes, limits: ParseLimits) -> str:
    try:
        kind = package_kind(open_package(binary, limits))
    except FileRejectedError as error:
        if error.code == "DAMAGED_ARCHIVE" and any(part in head for part in _WORKBOOK_PARTS):
            message = "The workbook is damaged or was cut off. Open it, save it again and hand over the copy."
            raise FileRejectedError("DAMAGED_WORKBOOK", message) from error
        raise
    if kind.format is None:
        raise _rejected("UNSUPPORTED_FORMAT", kind.words)
    return kind.format


def _parquet_format(binary: BinaryIO, head: bytes, _: ParseLimits) -> str:
    end = binary.seek(0, io.SEEK_END)
    binary.seek(max(0, end - len(_PARQUET)))
    tail = binary.read(len(_PARQUET))
    if tail == _PARQUET_ENCRYPTED:
        message = "The Parquet file is encrypted. Write it without encryption and hand it over again."
        raise FileRejectedError("ENCRYPTED_FILE", message)
    if tail != _PARQUET or not head.startswith(_PARQUET):
        message = "The Parquet file was cut off: its end is missing. Copy or write it again."
        raise FileRejectedError("DAMAGED_PARQUET", message)
    return "parquet"


def _rejected(code: str, kind: str) -> FileRejectedError:
    remedy = {
        "ENCRYPTED_FILE": "Remove the password and hand it over again.",
        "UNSUPPORTED_FORMAT": "Export it as a workbook (.xlsx), CSV (UTF-8) or JSON Lines.",
        "BINARY_CONTENT": "Hand over a table: a workbook (.xlsx), CSV (UTF-8) or JSON Lines.",
    }[code]
    return FileRejectedError(code, f"The file looks like {kind}. {remedy}")
