"""Opening zip containers that nobody vouches for: workbooks (xlsx, xlsb, ods) are such, and so are archives of files.

A directory may name a million members, two members may share their bytes, and declared sizes lie. The directory is therefore
measured before it is read, and members are inflated in blocks that are counted as they come.
"""

from __future__ import annotations

import copy
import io
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from helix_pipelines.parsing.containers.compression import refuse_ratio
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError

BLOCK_BYTES = 1 << 18
DIRECTORY_BYTES_PER_MEMBER = 1024
"""Real directories need about 100 bytes a member; `zipfile` reads a directory as a whole."""
DIRECTORY_BYTES_FLOOR = 1 << 16
TELLING_PART_BYTES = 1 << 20
"""Of a part that tells what a package is, as much is read; real ones have a few KB."""

# APPNOTE.TXT 4.3.14 to 4.3.16; a comment of at most 65,535 bytes may follow the end record.
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_LONGEST_COMMENT = 0xFFFF
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MAGIC = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC = b"PK\x06\x06"
_LOCAL_HEADER_BYTES = 30
_IS_ENCRYPTED = 0x1


class PackageKind(NamedTuple):
    """What a package is: `format` is a reader's name or "zip", None where there is no reader; `words` are for messages."""

    format: str | None
    words: str


_OFFICE_KINDS = (
    (re.compile(rb"sheet\.binary\.macroenabled\.main"), PackageKind("xlsb", "an Excel workbook (.xlsb)")),
    (re.compile(rb"(?:spreadsheetml|ms-excel)\.[\w.]+\.main"), PackageKind("xlsx", "an Excel workbook (.xlsx)")),
    (re.compile(rb"(?:wordprocessingml|ms-word)\.[\w.]+\.main"), PackageKind(None, "a Word document (.docx)")),
    (re.compile(rb"(?:presentationml|powerpoint)\.[\w.]+\.main"), PackageKind(None, "a PowerPoint file (.pptx)")),
)
"""Types of main parts (ECMA-376 part 1, 11 to 13); what is embedded in a document has types without `.main`."""
_SPREADSHEET = PackageKind("ods", "an OpenDocument spreadsheet (.ods)")
_OPEN_DOCUMENT = PackageKind(None, "an OpenDocument file that is no spreadsheet")
_NUMBERS = PackageKind(None, "an Apple Numbers or Pages document")
_BOOK = PackageKind(None, "an electronic book (.epub)")
_ZIP = PackageKind("zip", "a zip archive")


class ExpansionMeter:
    """Counts what the members of a package of `packed` bytes become, and stops at `most` bytes or at a ratio beyond belief.

    `setting` names the limit in the message.
    """

    def __init__(self, packed: int, most: int, setting: str, limits: ParseLimits) -> None:
        self._packed = packed
        self._most = most
        self._setting = setting
        self._limits = limits
        self.expanded = 0

    def add(self, size: int) -> None:
        """Count `size` more bytes. Raises FileRejectedError: EXPANDED_TOO_LARGE, EXPANSION_RATIO."""
        self.expanded += size
        if self.expanded > self._most:
            message = f"Unpacked, the file is larger than {self._most:,} bytes. Split it, or raise {self._setting}."
            raise FileRejectedError("EXPANDED_TOO_LARGE", message)
        refuse_ratio(self.expanded, self._packed, self._limits)


def open_package(binary: BinaryIO, limits: ParseLimits) -> zipfile.ZipFile:
    """The directory of a zip container; `binary` has to be seekable and stays open.

    Raises FileRejectedError: DAMAGED_ARCHIVE, TOO_MANY_MEMBERS.
    """
    with _damage_told():
        _check_directory(binary, limits)
        package = zipfile.ZipFile(binary)
        if len(package.infolist()) > limits.archive_members:
            raise _too_many_members(len(package.infolist()), limits)
        _refuse_overlaps(package)
    return package


def package_size(package: zipfile.ZipFile) -> int:
    """The bytes of the container as it lies there."""
    assert package.fp is not None, "the package is open"
    return package.fp.seek(0, io.SEEK_END)


def part_blocks(package: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a member in blocks, however large it really is.

    Raises FileRejectedError: ENCRYPTED_FILE, DAMAGED_ARCHIVE (also where its checksum or its declared size is wrong).
    """
    if part.flag_bits & _IS_ENCRYPTED:
        message = "The file is protected by a password. Remove the password and hand it over again."
        raise FileRejectedError("ENCRYPTED_FILE", message)
    if part.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        # bzip2 and lzma decoders hand out whole blocks of any size; no office program writes them.
        raise _damaged("it is packed by an unusual method")
    unlimited = copy.copy(part)
    unlimited.file_size = sys.maxsize  # zipfile would stop at the declared size, other readers do not
    total = 0
    with _damage_told():
        stream = package.open(unlimited)
    with stream:
        while True:
            with _damage_told():
                block = stream.read(BLOCK_BYTES)
            if not block:
                break
            total += len(block)
            yield block
    if total != part.file_size:
        raise _damaged("a part is larger or smaller than the directory says")


def check_expansion(package: zipfile.ZipFile, meter: ExpansionMeter) -> None:
    """Inflate all members, keeping nothing. Raises FileRejectedError as `part_blocks` and `ExpansionMeter.add` do."""
    for part in package.infolist():
        for block in part_blocks(package, part):
            meter.add(len(block))


def package_kind(package: zipfile.ZipFile) -> PackageKind:
    """What a package is by the parts that say so: the content types of Office, the `mimetype` of OpenDocument.

    Raises FileRejectedError: ENCRYPTED_FILE, DAMAGED_ARCHIVE.
    """
    parts = {plain_name(part): part for part in package.infolist()}
    types = _start_of(package, parts.get("[content_types].xml")).lower()
    for pattern, kind in _OFFICE_KINDS:
        if pattern.search(types):
            return kind
    mimetype = _start_of(package, parts.get("mimetype"))
    manifest = _start_of(package, parts.get("meta-inf/manifest.xml"))
    if b"opendocument" in mimetype or (b"opendocument" in manifest and "content.xml" in parts):
        if b":encryption-data" in manifest:
            message = "The OpenDocument file is protected by a password. Remove the password and hand it over again."
            raise FileRejectedError("ENCRYPTED_FILE", message)
        return _SPREADSHEET if b"opendocument.spreadsheet" in (mimetype or manifest) else _OPEN_DOCUMENT
    if b"epub" in mimetype:
        return _BOOK
    return _NUMBERS if any(name.endswith(".iwa") for name in parts) else _ZIP


def plain_name(part: zipfile.ZipInfo) -> str:
    """The name of a member as office programs compare it: lower case, with slashes (some tools write backslashes)."""
    return part.filename.replace("\\", "/").lower()


def _check_directory(binary: BinaryIO, limits: ParseLimits) -> None:
    """Measure the directory by the records at the end of the file, found where `zipfile` finds them."""
    size = binary.seek(0, io.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    binary.seek(tail_start)
    tail = binary.read(_END.size + _LONGEST_COMMENT)
    at = len(tail) - _END.size
    if at < 0 or not (tail.startswith(_END_MAGIC, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise _damaged("its end is missing")
    entries, directory_bytes = _END.unpack_from(tail, at)[4:6]
    entries64, directory_bytes64 = _end64(binary, tail_start + at)
    entries, directory_bytes = max(entries, entries64), max(directory_bytes, directory_bytes64)
    if entries > limits.archive_members:
        raise _too_many_members(entries, limits)
    if directory_bytes > max(DIRECTORY_BYTES_FLOOR, limits.archive_members * DIRECTORY_BYTES_PER_MEMBER):
        raise _damaged(f"its list of members has {directory_bytes:,} bytes")
    binary.seek(0)


def _end64(binary: BinaryIO, end_at: int) -> tuple[int, int]:
    """Members and bytes of the directory by the zip64 records before the end record, 0 and 0 where there are none."""
    start = end_at - _LOCATOR.size - _END64.size
    if start < 0:
        return 0, 0
    binary.seek(start)
    records = binary.read(_END64.size + _LOCATOR.size)
    if not records.startswith(_END64_MAGIC) or not records.startswith(_LOCATOR_MAGIC, _END64.size):
        return 0, 0
    return _END64.unpack_from(records)[7], _END64.unpack_from(records)[8]


def _refuse_overlaps(package: zipfile.ZipFile) -> None:
    """Members that share bytes unpack to many times the file: 10 MB become 281 TB without any being remarkable alone."""
    ends = [(part.header_offset, part.compress_size) for part in package.infolist()]
    ends.append((package.start_dir, 0))
    for (offset, packed), (following, _) in pairwise(sorted(ends)):
        if offset + _LOCAL_HEADER_BYTES + packed > following:
            raise _damaged("its members overlap")


def _start_of(package: zipfile.ZipFile, part: zipfile.ZipInfo | None) -> bytes:
    start = b""
    if part is not None:
        for block in part_blocks(package, part):
            start += block
            if len(start) > TELLING_PART_BYTES:
                break
    return start


@contextmanager
def _damage_told() -> Iterator[None]:
    """What `zipfile` throws at damaged files is not limited to its own error."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError) as error:
        raise _damaged(str(error)) from error
    except (RuntimeError, OverflowError, OSError) as error:
        raise _damaged(str(error)) from error


def _damaged(why: str) -> FileRejectedError:
    reason = why[:120] or "it breaks off"
    return FileRejectedError(
        "DAMAGED_ARCHIVE",
        f"The file is a zip container that is damaged or was cut off ({reason}). Copy or export it again.",
    )


def _too_many_members(count: int, limits: ParseLimits) -> FileRejectedError:
    return FileRejectedError(
        "TOO_MANY_MEMBERS",
        f"The archive lists {count:,} members, {limits.archive_members:,} are allowed (HELIX_MAX_ARCHIVE_MEMBERS). "
        "Split it.",
    )
