"""Which column plays which role: header names matched across languages, or as the caller says."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from helix_pipelines.parsing.synonyms import SYNONYMS
from helix_pipelines.resilience.errors import FileRejectedError, UsageError

ROLES = tuple(SYNONYMS)
REQUIRED_ROLES = ("question", "answer")

SEEN_COLUMNS = 20
SEEN_NAME_CHARS = 40
"""Enough to recognise the file by; a header may have thousands of columns of any length."""


def map_columns(names: Sequence[str], explicit: Mapping[str, str] | None = None) -> dict[str, int]:
    """Find the position of each role's column. `explicit` maps roles to column names and wins.

    Of columns with the same name the first counts.

    Raises FileRejectedError (MAPPING_COLUMN_MISSING, COLUMNS_NOT_FOUND), UsageError (MAPPING_ROLE_UNKNOWN).
    """
    chosen = {role: _explicit_position(names, role, name) for role, name in (explicit or {}).items()}
    found = {**_known_positions(names, taken=chosen), **chosen}
    missing = [role for role in REQUIRED_ROLES if role not in found]
    if missing:
        raise FileRejectedError(
            "COLUMNS_NOT_FOUND",
            f"No column for {' and '.join(missing)} was recognised. {columns_seen(names)} "
            "Name them with --map question=COL,answer=COL.",
        )
    return {role: found[role] for role in ROLES if role in found}


def has_pairs(names: Sequence[str]) -> bool:
    """Whether header names alone tell where question and answer are."""
    found = _known_positions(names, taken={})
    return all(role in found for role in REQUIRED_ROLES)


def columns_seen(names: Sequence[str]) -> str:
    """The header for an error message, bounded in number and length of names."""
    shown = ", ".join(_shortened(name) for name in names[:SEEN_COLUMNS])
    more = f" and {len(names) - SEEN_COLUMNS:,} more" if len(names) > SEEN_COLUMNS else ""
    return f"Columns seen: {shown or 'none'}{more}."


def unique_names(names: Sequence[str]) -> list[str]:
    """Names for metadata keys: trimmed, `column 3` where blank, `id (2)` where repeated."""
    unique: dict[str, None] = {}
    for position, name in enumerate(names, start=1):
        label = name.strip() or f"column {position}"
        candidate, count = label, 2
        while candidate in unique:
            candidate, count = f"{label} ({count})", count + 1
        unique[candidate] = None
    return list(unique)


LONGEST_NAME = 100
"""The longest synonym has 17 characters; what is longer is a row of data in the place of a header."""


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """A header name without what people vary: case, width, spaces, punctuation. Empty where it is no name but a text."""
    if len(name) > LONGEST_NAME:
        return ""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(char for char in unicodedata.normalize("NFKC", plain) if unicodedata.category(char)[0] in "LMN")


def _known_positions(names: Sequence[str], taken: Mapping[str, int]) -> dict[str, int]:
    """Roles not in `taken` by the order of their synonyms, so that several matching columns always give the same choice."""
    used = set(taken.values())
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if position not in used:
            positions.setdefault(folded(name), position)
    found: dict[str, int] = {}
    for role in ROLES:
        if role in taken:
            continue
        known = [positions[name] for name in map(folded, SYNONYMS[role]) if name in positions]
        if known and known[0] not in found.values():
            found[role] = known[0]
    return found


def _explicit_position(names: Sequence[str], role: str, wanted: str) -> int:
    if role not in ROLES:
        raise UsageError("MAPPING_ROLE_UNKNOWN", f"--map knows no role {role!r}; it takes {', '.join(ROLES)}.")
    if wanted in names:
        return list(names).index(wanted)
    for position, name in enumerate(names):
        if folded(name) == folded(wanted) and folded(wanted):
            return position
    raise FileRejectedError(
        "MAPPING_COLUMN_MISSING", f"The file has no column {_shortened(wanted)!r} for {role}. {columns_seen(names)}"
    )


def _shortened(name: str) -> str:
    flat = " ".join(name.split())
    printable = "".join(char if char.isprintable() else "?" for char in flat)
    return printable if len(printable) <= SEEN_NAME_CHARS else printable[: SEEN_NAME_CHARS - 3] + "..."
