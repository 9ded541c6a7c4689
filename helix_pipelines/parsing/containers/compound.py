"""The directory of OLE compound files, the container of old Office documents (.xls, .doc, .msg, .msi) and of encrypted ones.

Only names are read, to tell one from the other ([MS-CFB] 2.1 to 2.6); the content is left to the formats' own libraries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from helix_pipelines.resilience.errors import FileRejectedError

COMPOUND_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MOST_ENTRIES = 20_000
"""A workbook has about 5 streams, and some hundreds where every picture is an object of its own."""

_HEADER_BYTES = 512
_SECTOR_SHIFTS = (9, 12)
_FIRST_FAT_SECTORS = 109
_ENTRY_BYTES = 128
_LAST_SECTOR = 0xFFFFFFFA
_NO_ENTRY = 0xFFFFFFFF


def root_names(binary: BinaryIO) -> set[str]:
    """The names of what lies at the top of a compound file; objects embedded in it lie deeper and do not count.

    Raises FileRejectedError (DAMAGED_WORKBOOK) where the directory cannot be read.
    """
    try:
        entries = list(_entries(binary))
    except (struct.error, ValueError) as error:
        raise FileRejectedError(
            "DAMAGED_WORKBOOK",
            f"The file is an old Office document that is damaged or was cut off ({error}). Copy or save it again.",
        ) from error
    return {_name(entries[at]) for at in _siblings(entries)}


def _entries(binary: BinaryIO) -> Iterator[bytes]:
    """The directory's entries, by the chain of its sectors."""
    binary.seek(0)
    header = binary.read(_HEADER_BYTES)
    shift, sector = struct.unpack_from("<30xH16xL", header)
    if shift not in _SECTOR_SHIFTS:
        raise ValueError("its header is wrong")
    fat = _FatSectors(binary, header, shift)
    count = 0
    while sector < _LAST_SECTOR:
        block = _sector(binary, sector, shift)
        for at in range(0, len(block), _ENTRY_BYTES):
            yield block[at : at + _ENTRY_BYTES]
        count += len(block) // _ENTRY_BYTES
        if count > MOST_ENTRIES:
            raise ValueError("its directory does not end")
        sector = fat.after(sector)


class _FatSectors:
    """Which sector follows which; only the parts of the table that are asked for are read."""

    def __init__(self, binary: BinaryIO, header: bytes, shift: int) -> None:
        self._binary = binary
        self._shift = shift
        self._per_sector = (1 << shift) // 4
        self._sectors = list(struct.unpack_from(f"<{_FIRST_FAT_SECTORS}L", header, 76))
        (self._more_at,) = struct.unpack_from("<68xL", header)

    def after(self, sector: int) -> int:
        """The sector that follows in a chain."""
        which, at = divmod(sector, self._per_sector)
        while which >= len(self._sectors) and self._more_at < _LAST_SECTOR:
            block = struct.unpack(f"<{self._per_sector}L", _sector(self._binary, self._more_at, self._shift))
            self._sectors += block[:-1]
            self._more_at = block[-1]
        if which >= len(self._sectors):
            raise ValueError("its table of sectors is too short")
        table = _sector(self._binary, self._sectors[which], self._shift)
        (following,) = struct.unpack_from("<L", table, 4 * at)
        return int(following)


def _sector(binary: BinaryIO, number: int, shift: int) -> bytes:
    size = 1 << shift
    binary.seek((number + 1) << shift)
    block = binary.read(size)
    if len(block) < size:
        raise ValueError("a sector is missing")
    return block


def _siblings(entries: list[bytes]) -> Iterator[int]:
    """Positions of the root's children, which form a tree by their left and right siblings."""
    remaining = [struct.unpack_from("<L", entries[0], 76)[0]] if entries else []
    seen: set[int] = set()
    while remaining:
        at = remaining.pop()
        if at == _NO_ENTRY or at >= len(entries) or at in seen:
            continue
        seen.add(at)
        yield at
        remaining += struct.unpack_from("<2L", entries[at], 68)


def _name(entry: bytes) -> str:
    (size,) = struct.unpack_from("<H", entry, 64)
    return entry[: max(0, min(size, 64) - 2)].decode("utf-16-le", "replace")
