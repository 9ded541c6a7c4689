"""What the files of a command are: fingerprinted and recognised where they lie, archives unpacked into a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from helix_pipelines.ingestion.archives import Member, store_members
from helix_pipelines.ingestion.fingerprint import Fingerprint
from helix_pipelines.ingestion.intake import ARCHIVE, check_purpose, read_mark
from helix_pipelines.ingestion.sniff import Sniffed, sniff
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.storage.batches import FileRequest


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that an import would take: its bytes, and what they are or why they are refused."""

    request: FileRequest
    mark: Fingerprint | None
    source: Callable[[], BinaryIO] | None
    sniffed: Sniffed | None
    error: FileRejectedError | None


def candidates(requests: Sequence[FileRequest], unpacked: ContentStore, limits: ParseLimits) -> Iterator[Candidate]:
    """The files in the order in which an import takes them: those handed over, then the members of their archives.

    Members are kept in `unpacked`, which whoever calls throws away.
    """
    members: list[tuple[FileRequest, Member]] = []
    for request in requests:
        found = _recognised(request, limits)
        if found.sniffed is None or found.sniffed.format != ARCHIVE:
            yield found
            continue
        try:
            members += _members(found, unpacked, limits)
        except FileRejectedError as error:
            yield _refused(request, error)
    for request, member in members:
        yield _recognised_member(request, member, unpacked, limits)


def _recognised(request: FileRequest, limits: ParseLimits) -> Candidate:
    path = Path(request.path)
    try:
        mark = read_mark(path, limits)
        return _sniffed(request, mark, lambda: path.open("rb"), limits, is_member=False)
    except FileRejectedError as error:
        return _refused(request, error)


def _recognised_member(request: FileRequest, member: Member, unpacked: ContentStore, limits: ParseLimits) -> Candidate:
    if member.refusal is not None:
        return _refused(request, member.refusal)
    assert member.sha256 is not None
    assert member.bytes is not None
    mark = Fingerprint(member.sha256, member.bytes)
    try:
        return _sniffed(request, mark, lambda: unpacked.open(mark.sha256), limits, is_member=True)
    except FileRejectedError as error:
        return _refused(request, error)


def _sniffed(
    request: FileRequest,
    mark: Fingerprint,
    source: Callable[[], BinaryIO],
    limits: ParseLimits,
    *,
    is_member: bool,
) -> Candidate:
    sniffed = sniff(source, Path(request.path).name, limits, request.encoding)
    check_purpose(sniffed, is_member=is_member, is_replay=False)
    return Candidate(request, mark, source, sniffed, None)


def _refused(request: FileRequest, error: FileRejectedError) -> Candidate:
    return Candidate(request, None, None, None, error)


def _members(archive: Candidate, unpacked: ContentStore, limits: ParseLimits) -> list[tuple[FileRequest, Member]]:
    """The files of an archive, each read as the archive was to be read, under its own path and source."""
    assert archive.source is not None
    asked = archive.request
    with archive.source() as binary:
        return [
            (replace(asked, path=f"{asked.path}/{member.path}", source=f"{asked.source}/{member.path}"), member)
            for member in store_members(binary, unpacked, limits)
        ]
