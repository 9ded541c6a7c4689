"""Which files of the inbox are imported together: a pure plan, made anew at every look.

One Dagster run over fifty small files costs 30 ms CPU a file, one run a file 200 ms (measured), so what is found together is
sealed together; a huge file is a batch of its own, so that it holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

DEFAULT_COLLECTION = "default"
"""The collection of files that lie at the top of the inbox."""


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file as a look at the inbox found it. `path` is relative to the inbox, with `/`; it names the file's source too."""

    path: str
    bytes: int
    modified_ns: int

    @property
    def collection(self) -> str:
        """The first folder below the inbox."""
        folder, separator, _ = self.path.partition("/")
        return folder if separator else DEFAULT_COLLECTION


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of a batch: number of files, their bytes together, and the seconds that a file waits for company."""

    files: int
    bytes: int
    age: float


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Files to be sealed into one batch; never empty."""

    files: tuple[InboxFile, ...]

    @property
    def name(self) -> str:
        """For people: the file's name, or the collection and how many files there are."""
        if len(self.files) == 1:
            return PurePosixPath(self.files[0].path).name
        collections = {file.collection for file in self.files}
        return f"{collections.pop() if len(collections) == 1 else 'inbox'} {len(self.files)} files"


def is_due(waited: float, settling: int, limits: BatchLimits) -> bool:
    """Whether to seal now: nothing else is arriving, or the file that waits longest has waited `limits.age` seconds.

    `settling` is the number of files that still change or have not been quiet for long enough.
    """
    return settling == 0 or waited >= limits.age


def plan_batches(files: Sequence[InboxFile], limits: BatchLimits) -> list[BatchPlan]:
    """Seal `files`, oldest first, into batches within the limits; a file beyond the limit of bytes has one to itself."""
    ordered = sorted(files, key=lambda file: (file.modified_ns, file.path))
    return [BatchPlan(tuple(group)) for group in _groups(ordered, limits)]


def _groups(files: Sequence[InboxFile], limits: BatchLimits) -> Iterator[list[InboxFile]]:
    group: list[InboxFile] = []
    size = 0
    for file in files:
        if group and (len(group) == limits.files or size + file.bytes > limits.bytes):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.bytes
    if group:
        yield group
