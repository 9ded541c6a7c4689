"""From paths that somebody names to the files that they mean: folders walked, sources named, folder rules heeded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helix_pipelines.ingestion.batching import DEFAULT_COLLECTION
from helix_pipelines.ingestion.folder_rules import RULES_FILE, Rules
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import FileRequest


def plan_files(paths: Sequence[Path], given: Mapping[str, Any]) -> list[FileRequest]:
    """Every file below `paths` once, in order, with the source that it continues.

    A file's source is its name, that of a file below a given folder its path relative to the folder; where two files would
    get the same source, their paths below their common parent tell them apart. What a `helix.toml` of its folder says (up to
    the given folder) wins over that, and `given`, fields of a FileRequest that are not empty, over both.

    Raises UsageError: PATH_MISSING, NOT_A_FILE, LINK_OUTSIDE, NO_FILES, SOURCE_NEEDS_ONE_FILE, FOLDER_RULES_INVALID.
    """
    found: dict[Path, str] = {}
    ruled: dict[Path, dict[str, Any]] = {}
    for path in paths:
        top = Path(os.path.abspath(path))  # noqa: PTH100 - links keep the name people know
        rules = Rules(top if top.is_dir() else top.parent)
        for file, name in _files_below(top):
            found.setdefault(file, name)
            ruled.setdefault(file, rules.chosen(name))
    if not found:
        raise UsageError("NO_FILES", f"There is no file in {', '.join(map(str, paths))} (hidden ones are skipped).")
    if given.get("source") and len(found) > 1:
        raise UsageError(
            "SOURCE_NEEDS_ONE_FILE", f"--source names one file's source, but there are {len(found)} files."
        )
    said = {name: value for name, value in given.items() if value}
    return [
        FileRequest(str(file), **({"collection": DEFAULT_COLLECTION, "source": name} | ruled[file] | said))
        for file, name in _told_apart(found).items()
    ]


def _files_below(path: Path) -> Iterator[tuple[Path, str]]:
    """The file itself, or the regular files of a folder in sorted order, each with its default source name."""
    if path.is_dir():
        for file in _walk(path):
            yield file, file.relative_to(path).as_posix()
    elif path.is_file():
        yield path, path.name
    elif os.path.lexists(path):
        raise UsageError("NOT_A_FILE", f"{path} is neither a file nor a folder.")
    else:
        raise UsageError("PATH_MISSING", f"{path} does not exist.")


def _walk(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for where, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*files, *folders]):
            entry = Path(where, name)
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise UsageError(
                    "LINK_OUTSIDE", f"{entry} leads out of {folder} to {entry.resolve()}: give that path itself."
                )
            if name in files and not name.startswith(".") and name != RULES_FILE and entry.is_file():
                yield entry


def _refuse_folder(error: OSError) -> None:
    raise UsageError("FOLDER_UNREADABLE", f"{error.filename} cannot be listed: {error.strerror}.") from error


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
