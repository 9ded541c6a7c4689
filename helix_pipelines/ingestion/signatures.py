"""What bytes are when they are not text: known signatures, and a measure for the unknown ones."""

from __future__ import annotations

import re

from helix_pipelines.resilience.errors import FileRejectedError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

_ZIP_KINDS = (
    (b"manifest:algorithm", "ENCRYPTED_FILE", "an OpenDocument file that is protected by a password"),
    (b"opendocument.spreadsheet", "UNSUPPORTED_FORMAT", "an OpenDocument spreadsheet (.ods)"),
    (b"opendocument", "UNSUPPORTED_FORMAT", "an OpenDocument file"),
    (b"xl/", "UNSUPPORTED_FORMAT", "an Excel workbook (.xlsx)"),
    (b"word/", "UNSUPPORTED_FORMAT", "a Word document (.docx)"),
    (b"", "UNSUPPORTED_FORMAT", "a zip archive"),
)

_SIGNATURES = (
    (b"PAR1", "UNSUPPORTED_FORMAT", "a Parquet file"),
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


def refuse_known_binary(head: bytes) -> None:
    """Raise FileRejectedError (UNSUPPORTED_FORMAT, ENCRYPTED_FILE, BINARY_CONTENT) where a signature tells what a file is."""
    if head.startswith(_OLE):
        if _ENCRYPTED_PACKAGE in head:
            raise _rejected("ENCRYPTED_FILE", "an Excel workbook that is protected by a password")
        raise _rejected("UNSUPPORTED_FORMAT", "an old Excel workbook or Office document (.xls, .doc)")
    if head.startswith(_ZIP):
        _, code, kind = next(entry[:3] for entry in _ZIP_KINDS if entry[0] in head)
        raise _rejected(code, kind)
    for signature, code, kind in _SIGNATURES:
        if head.startswith(signature):
            raise _rejected(code, kind)


def refuse_unknown_binary(head: bytes) -> None:
    """Raise FileRejectedError (BINARY_CONTENT) where bytes in a one-byte or UTF-8 encoding cannot be text."""
    controls = len(_CONTROL.findall(head))
    if controls > max(TOLERATED_CONTROLS, BINARY_SHARE * len(head)):
        raise _rejected("BINARY_CONTENT", "not a text but binary data, or a damaged file")


def _rejected(code: str, kind: str) -> FileRejectedError:
    remedy = {
        "ENCRYPTED_FILE": "Remove the password and hand it over again.",
        "UNSUPPORTED_FORMAT": "Export it as CSV (UTF-8), JSON Lines or a JSON array.",
        "BINARY_CONTENT": "Hand over a table: CSV (UTF-8), JSON Lines or a JSON array.",
    }[code]
    return FileRejectedError(code, f"The file looks like {kind}. {remedy}")
