"""Zip archives: their members become imports of their own, under their own paths, as if they had been handed over unpacked.

Nothing is unpacked to a folder. Members go into the content-addressed store, so a member's name never names a file of this
machine; it is only shown, and becomes part of its source's name.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from helix_pipelines.ingestion.fingerprint import fingerprint_blocks
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.containers.packages import ExpansionMeter, open_package, package_size, part_blocks
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError

IS_UTF_8 = 0x800
"""Flag of names in UTF-8; all others are read as cp437, the character set of DOS, though many tools write UTF-8 there too."""
NAME_CHARS = 200
PARTS = 20
"""Folders of a name that are kept, from the end; real archives have a handful."""
LITTER_FOLDERS = frozenset({"__MACOSX"})
LITTER_NAMES = frozenset({"thumbs.db", "desktop.ini"})
"""What macOS and Windows put beside people's files."""
LITTER_PREFIXES = (".", "~$")
OF_THE_WHOLE = frozenset({"EXPANDED_TOO_LARGE", "EXPANSION_RATIO"})
"""Refusals that concern the archive, whichever member brought them about."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: its path there, made safe, and its content in the store, or why it cannot be had."""

    path: str
    sha256: str | None = None
    bytes: int | None = None
    refusal: FileRejectedError | None = None


def store_members(binary: BinaryIO, store: ContentStore, limits: ParseLimits) -> list[Member]:
    """Put the members of an archive into the store, in the archive's order, and return them. Links and litter are left out.

    A member that is damaged, encrypted or too large is refused by itself. Raises FileRejectedError where the archive as a whole
    is: DAMAGED_ARCHIVE, TOO_MANY_MEMBERS, EXPANDED_TOO_LARGE, EXPANSION_RATIO, EMPTY_ARCHIVE.
    """
    with open_package(binary, limits) as package:
        meter = ExpansionMeter(package_size(package), limits.expanded_bytes, "HELIX_MAX_EXPANDED_BYTES", limits)
        taken: dict[str, None] = {}
        members = []
        for part in package.infolist():
            path = safe_path(part)
            if not _is_file(part) or _is_litter(path):
                continue
            path = _unique(path, taken)
            members.append(_stored(package, part, path, store, meter, limits))
    if not members:
        raise FileRejectedError("EMPTY_ARCHIVE", "The archive holds no files. Pack them again.")
    return members


def safe_path(part: zipfile.ZipInfo) -> str:
    """The member's path for people and sources: no way up or out, no control characters, bounded; never blank."""
    name = part.filename
    if not part.flag_bits & IS_UTF_8:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = part.filename
    steps = [_shown(step) for step in name.replace("\\", "/").split("/") if step.strip() not in {"", ".", ".."}]
    return "/".join(steps[-PARTS:]) or "unnamed"


def _shown(step: str) -> str:
    printable = "".join(char if char.isprintable() else "_" for char in step.strip())
    if len(printable) <= NAME_CHARS:
        return printable
    suffix = PurePosixPath(printable).suffix[:NAME_CHARS]
    return printable[: NAME_CHARS - len(suffix)] + suffix


def _is_file(part: zipfile.ZipInfo) -> bool:
    """Whether the member is a regular file: folders are none, and links may lead anywhere."""
    kind = stat.S_IFMT(part.external_attr >> 16)
    is_folder = part.filename.endswith(("/", "\\"))
    return not is_folder and kind in {0, stat.S_IFREG}


def _is_litter(path: str) -> bool:
    *folders, name = path.split("/")
    return not LITTER_FOLDERS.isdisjoint(folders) or name.startswith(LITTER_PREFIXES) or name.lower() in LITTER_NAMES


def _unique(path: str, taken: dict[str, None]) -> str:
    """The path, numbered where the archive has it twice."""
    candidate, count = path, 2
    while candidate in taken:
        candidate, count = f"{path} ({count})", count + 1
    taken[candidate] = None
    return candidate


def _stored(
    package: zipfile.ZipFile,
    part: zipfile.ZipInfo,
    path: str,
    store: ContentStore,
    meter: ExpansionMeter,
    limits: ParseLimits,
) -> Member:
    try:
        mark = fingerprint_blocks(_measured(package, part, meter, limits))
        store.put_blocks(mark, path, lambda: part_blocks(package, part))
    except FileRejectedError as error:
        if error.code in OF_THE_WHOLE:
            raise
        return Member(path, refusal=error)
    return Member(path, mark.sha256, mark.bytes)


def _measured(
    package: zipfile.ZipFile, part: zipfile.ZipInfo, meter: ExpansionMeter, limits: ParseLimits
) -> Iterator[bytes]:
    size = 0
    for block in part_blocks(package, part):
        size += len(block)
        meter.add(len(block))
        if size > limits.file_bytes:
            raise FileRejectedError(
                "FILE_TOO_LARGE",
                f"The file has more than the {limits.file_bytes:,} bytes that are allowed: split it, or raise"
                " HELIX_MAX_FILE_BYTES.",
            )
        yield block
