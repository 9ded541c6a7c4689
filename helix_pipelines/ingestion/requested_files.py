"""From paths that somebody names to the files that they mean: folders walked, sources named, folder rules heeded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helix_pipelines.ingestion.batching import DEFAULT_COLLECTION
from helix_pipelines.ingestion.folder_rules import RULES_FILE, Rules
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import FileRequest

REASONS_TOLD = 3


@dataclass(frozen=True, slots=True)
class FilePlan:
    """The files that paths mean, and what of their folders cannot be imported: the reason of each, with what to do."""

    files: list[FileRequest]
    left_out: list[UsageError]


def plan_files(paths: Sequence[Path], given: Mapping[str, Any]) -> FilePlan:
    """Every file below `paths` once, in order, with the source that it continues.

    A file's source is its name, that of a file below a given folder its path relative to the folder; where two files would
    get the same source, their paths below their common parent tell them apart. What a `helix.toml` of its folder says (up to
    the given folder) wins over that, and `given`, fields of a FileRequest that are not empty, over both.

    An entry of a folder that cannot be imported is left out and never fails its neighbours.
    Raises UsageError: NAME_NOT_UTF8, PATH_MISSING, PATH_UNREADABLE, FOLDER_UNREADABLE, LINK_BROKEN, NOT_A_FILE and NO_FILES
    for what is named itself, SOURCE_NEEDS_ONE_FILE, FOLDER_RULES_INVALID; where nothing is left, the reason why the first
    entry was left out.
    """
    found: dict[Path, str] = {}
    ruled: dict[Path, dict[str, Any]] = {}
    left_out: list[UsageError] = []
    for path in paths:
        top = Path(os.path.abspath(path))  # noqa: PTH100 - links keep the name people know
        _refuse_unusable(top)
        rules = Rules(top if top.is_dir() else top.parent)
        for file in _files_below(top, left_out):
            name = file.relative_to(top).as_posix() if file != top else top.name
            found.setdefault(file, name)
            ruled.setdefault(file, rules.chosen(name))
    if not found:
        raise _nothing_left(paths, left_out)
    if given.get("source") and len(found) > 1:
        raise UsageError(
            "SOURCE_NEEDS_ONE_FILE", f"--source names one file's source, but there are {len(found)} files."
        )
    said = {name: value for name, value in given.items() if value}
    files = [
        FileRequest(str(file), **({"collection": DEFAULT_COLLECTION, "source": name} | ruled[file] | said))
        for file, name in _told_apart(found).items()
    ]
    return FilePlan(files, left_out)


def _refuse_unusable(path: Path) -> None:
    """Raise UsageError for a path that is neither a file nor a folder, or that cannot be looked at."""
    if (reason := _unnameable(path)) is not None:
        raise reason
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise _broken_link(path) from error
        raise UsageError("PATH_MISSING", f"{path} does not exist.") from error
    except OSError as error:
        raise UsageError("PATH_UNREADABLE", f"{path} cannot be looked at: {error.strerror}.") from error
    if not path.is_dir() and not path.is_file():
        raise UsageError("NOT_A_FILE", f"{path} is neither a file nor a folder.")


def _nothing_left(paths: Sequence[Path], left_out: Sequence[UsageError]) -> UsageError:
    if not left_out:
        return UsageError("NO_FILES", f"There is no file in {', '.join(map(str, paths))} (hidden ones are skipped).")
    more = f" And {len(left_out) - REASONS_TOLD:,} more." if len(left_out) > REASONS_TOLD else ""
    reasons = " ".join(reason.message for reason in left_out[:REASONS_TOLD])
    return UsageError(left_out[0].code, f"There is no other file: {reasons}{more}")


def _files_below(top: Path, left_out: list[UsageError]) -> Iterator[Path]:
    """The file itself, or the regular files of a folder in sorted order; what cannot be imported goes to `left_out`."""
    if not top.is_dir():
        yield top
        return

    def report(error: OSError) -> None:
        reason = UsageError("FOLDER_UNREADABLE", f"{error.filename} cannot be listed: {error.strerror}.")
        if Path(error.filename) == top:
            raise reason from error
        left_out.append(reason)

    root = Path(os.path.realpath(top))
    for where, folders, files in os.walk(top, onerror=report):
        entries = {name: _unusable(Path(where, name), root) for name in sorted([*files, *folders]) if _is_asked(name)}
        left_out.extend(reason for reason in entries.values() if reason is not None)
        usable = [name for name, reason in entries.items() if reason is None]
        folders[:] = sorted(set(folders).intersection(usable))
        yield from (Path(where, name) for name in usable if name not in folders)


def _is_asked(name: str) -> bool:
    return not name.startswith(".") and name != RULES_FILE


def _unusable(entry: Path, root: Path) -> UsageError | None:
    """Why an entry of a folder below `root` is neither a file that can be imported nor a folder, None where it is one."""
    if (reason := _unnameable(entry)) is not None:
        return reason
    try:
        if entry.is_symlink():
            target = Path(os.path.realpath(entry, strict=True))
            if not target.is_relative_to(root):
                return UsageError("LINK_OUTSIDE", f"{entry} leads out of {root} to {target}: give that path itself.")
        if entry.is_file() or entry.is_dir():
            return None
    except FileNotFoundError:
        return _broken_link(entry)
    except OSError as error:
        return UsageError("PATH_UNREADABLE", f"{entry} cannot be looked at: {error.strerror}.")
    return UsageError("NOT_A_FILE", f"{entry} is neither a file nor a folder.")


def _unnameable(path: Path) -> UsageError | None:
    """The database, JSON and people take text only, and a file's name is any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return UsageError("NAME_NOT_UTF8", f"{shown} has a name that is not UTF-8: rename it.")
    return None


def _broken_link(path: Path) -> UsageError:
    return UsageError("LINK_BROKEN", f"{path} is a link to something that does not exist: correct or remove it.")


def _told_apart(found: Mapping[Path, str]) -> dict[Path, str]:
    """Source names, those that several files would share replaced by paths relative to the files' common parent."""
    uses = Counter(found.values())
    shared = [file for file, name in found.items() if uses[name] > 1]
    if not shared:
        return dict(found)
    parent = Path(os.path.commonpath(shared))
    names = {file: file.relative_to(parent).as_posix() if uses[name] > 1 else name for file, name in found.items()}
    if len(set(names.values())) < len(names):
        parent = Path(os.path.commonpath(found))
        names = {file: file.relative_to(parent).as_posix() for file in found}
    return names
