"""What the people who own a folder say of its files: `helix.toml`, in the folder itself or in one above it.

    collection = "support"            # for all files of this folder and those below
    [[source]]
    files = "faq_*.xlsx"              # later versions continue the same source, whatever they are called
    name = "faq"
    mode = "sync"
    map = { question = "Frage", answer = "Antwort" }
    id = "Nr"
    sheets = ["Fragen"]

A deeper file wins over one above it, a `[[source]]` over its folder, and the first that matches over the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from helix_pipelines.parsing.columns import ROLES
from helix_pipelines.parsing.text import codec_name
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import Mode

RULES_FILE = "helix.toml"
MOST_BYTES = 64 * 1024
"""Hundreds of sources; whatever is larger was not written by a person."""
MESSAGE_CHARS = 300


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be said of files, by folder or by source. None and empty say nothing."""

    collection: str | None = None
    """The knowledge base that their pairs go to."""
    mode: Mode | None = None
    """`append`, or `sync`, which takes out the rows that a new version no longer has."""
    map: dict[str, str] = {}
    """Role -> column, as in `helix import --map`."""
    id: str | None = None
    """The column with the owner's id of a row; the same as `map.external_id`."""
    sheets: list[str] = []
    """Sheets of a workbook to be read."""
    encoding: str | None = None
    """The encoding, where detection errs."""


class SourceRule(Choices, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Versions of one source, by globs against the name, or against the path below the folder where they hold a `/`."""

    files: str | list[str]
    name: str | None = None

    def matches(self, path: PurePosixPath) -> bool:
        """Whether a file, by its path below the folder of the rules, is meant."""
        patterns = [self.files] if isinstance(self.files, str) else self.files
        return any(fnmatchcase(str(path) if "/" in pattern else path.name, pattern) for pattern in patterns)


class FolderRules(Choices, frozen=True, forbid_unknown_fields=True):
    """One `helix.toml`."""

    source: list[SourceRule] = []


class Rules:
    """The rules of all folders below a root, each file of rules read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[PurePosixPath, FolderRules | None] = {}

    def chosen(self, path: str) -> dict[str, Any]:
        """What the rules say of the file at `path` below the root, as fields of its `FileRequest`.

        Raises UsageError (FOLDER_RULES_INVALID) that names the file of rules and what is wrong with it.
        """
        chosen: dict[str, Any] = {}
        for choices in self._choices(PurePosixPath(path)):
            chosen |= _fields(choices)
        return chosen

    def _choices(self, path: PurePosixPath) -> Iterator[Choices]:
        """From the weakest to the strongest."""
        for folder in reversed(path.parents):
            rules = self._of(folder)
            if rules is not None:
                yield rules
                below = path.relative_to(folder)
                matching = next((source for source in rules.source if source.matches(below)), None)
                if matching is not None:
                    yield matching

    def _of(self, folder: PurePosixPath) -> FolderRules | None:
        if folder not in self._read:
            self._read[folder] = read_rules(self._root / folder / RULES_FILE)
        return self._read[folder]


def read_rules(path: Path) -> FolderRules | None:
    """The rules in a file, None where there is none. Raises UsageError (FOLDER_RULES_INVALID)."""
    try:
        if path.is_symlink():
            raise _invalid(path, "it is a link, which may lead anywhere: put the file itself here")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _invalid(path, f"it is larger than {MOST_BYTES:,} bytes")
        rules = msgspec.toml.decode(content, type=FolderRules)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path, error.strerror or "it cannot be read") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(path, str(error)) from error
    for choices in (rules, *rules.source):
        _check(path, choices)
    return rules


def _check(path: Path, choices: Choices) -> None:
    unknown = [role for role in choices.map if role not in ROLES]
    if unknown:
        raise _invalid(path, f"map knows no role {unknown[0]!r}; it takes {', '.join(ROLES)}")
    if choices.encoding is not None and codec_name(choices.encoding) is None:
        raise _invalid(path, f"the encoding {choices.encoding!r} is not known; write utf-8, cp1252, shift_jis...")
    names = {"collection": choices.collection, "id": choices.id, "name": getattr(choices, "name", None)}
    blank = [key for key, name in names.items() if name is not None and not name.strip()]
    if blank:
        raise _invalid(path, f"{blank[0]} is blank")


def _fields(choices: Choices) -> dict[str, Any]:
    """The fields of a FileRequest that the choices set."""
    mapping = choices.map | ({"external_id": choices.id} if choices.id is not None else {})
    fields = {
        "collection": choices.collection,
        "source": getattr(choices, "name", None),
        "mode": choices.mode,
        "mapping": mapping,
        "sheets": tuple(choices.sheets),
        "encoding": codec_name(choices.encoding) if choices.encoding is not None else None,
    }
    return {name: value for name, value in fields.items() if value}


def _invalid(path: Path, problem: str) -> UsageError:
    shown = problem if len(problem) <= MESSAGE_CHARS else problem[:MESSAGE_CHARS] + "..."
    return UsageError(
        "FOLDER_RULES_INVALID", f"{path} cannot be used: {shown}. The files it speaks of wait until it is corrected."
    )
