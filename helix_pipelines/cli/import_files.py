"""From the paths of a command line to the files that it means: folders walked, sources named, `--map` read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from helix_pipelines.parsing.columns import ROLES
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import FileRequest, Mode

NEXT_ROLE = re.compile(rf",(?=\s*(?:{'|'.join(ROLES)})\s*=)")
"""The comma between two parts of `--map`: one that a role follows, as column names may hold commas themselves."""


def plan_files(
    paths: Sequence[Path],
    *,
    collection: str,
    source: str | None,
    mode: Mode,
    mapping: Mapping[str, str],
    encoding: str | None,
) -> list[FileRequest]:
    """Every file below `paths` once, in order, with the source that it continues.

    A file's source is its name, that of a file below a given folder its path relative to the folder; where two files would
    get the same source, their paths below their common parent tell them apart.

    Raises UsageError: PATH_MISSING, NOT_A_FILE, LINK_OUTSIDE, NO_FILES, SOURCE_NEEDS_ONE_FILE.
    """
    found: dict[Path, str] = {}
    for path in paths:
        for file, name in _files_below(Path(os.path.abspath(path))):  # noqa: PTH100 - links keep the name people know
            found.setdefault(file, name)
    if not found:
        raise UsageError("NO_FILES", f"There is no file in {', '.join(map(str, paths))} (hidden ones are skipped).")
    if source is not None and len(found) > 1:
        raise UsageError(
            "SOURCE_NEEDS_ONE_FILE", f"--source names one file's source, but there are {len(found)} files."
        )
    names = dict.fromkeys(found, source) if source is not None else _told_apart(found)
    return [
        FileRequest(str(file), collection, name, mapping=dict(mapping), mode=mode, encoding=encoding)
        for file, name in names.items()
    ]


def parse_mapping(options: Sequence[str]) -> dict[str, str]:
    """`question=COL,answer=COL` to role -> column. Raises UsageError (MAPPING_INVALID) that says what is accepted."""
    mapping: dict[str, str] = {}
    for part in (part for option in options for part in NEXT_ROLE.split(option)):
        role, separator, column = (piece.strip() for piece in part.partition("="))
        if not separator or not column or role not in ROLES:
            raise UsageError(
                "MAPPING_INVALID", f"--map cannot be read at {part!r}: write ROLE=COLUMN; roles are {', '.join(ROLES)}."
            )
        if role in mapping:
            raise UsageError("MAPPING_INVALID", f"--map names two columns for {role}; leave one of them.")
        mapping[role] = column
    return mapping


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
            if name in files and not name.startswith(".") and entry.is_file():
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
