"""Which sheets of a workbook are read, and what is said where none can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from helix_pipelines.resilience.errors import FileRejectedError

SHEETS_TOLD = 5
NAMES_TOLD = 20
NAME_CHARS = 40
MESSAGE_CHARS = 1_000
"""Enough to see what is wrong; a sheet's header alone may fill a page."""


def chosen_sheets(names: Sequence[str], wanted: Collection[str]) -> set[str]:
    """The sheets to be read of those in a workbook; all of them where none is named. Case and outer spaces do not matter.

    Raises FileRejectedError (SHEET_NOT_FOUND), naming the sheets that there are.
    """
    if not wanted:
        return set(names)
    by_folded = {_folded(name): name for name in reversed(names)}
    chosen = {name if name in names else by_folded.get(_folded(name)) for name in wanted}
    if None in chosen:
        missing = next(name for name in wanted if _folded(name) not in by_folded)
        shown = ", ".join(shown_name(name) for name in names[:NAMES_TOLD])
        more = f" and {len(names) - NAMES_TOLD:,} more" if len(names) > NAMES_TOLD else ""
        raise FileRejectedError(
            "SHEET_NOT_FOUND", f"The workbook has no sheet {shown_name(missing)}. Its sheets are {shown}{more}."
        )
    return {name for name in chosen if name is not None}


def no_columns(refused: Mapping[str, FileRejectedError], left_out: Sequence[str]) -> FileRejectedError:
    """The refusal of a workbook none of whose sheets has pairs: what was seen in each, and what was not looked at."""
    told = {name: error for name, error in refused.items() if error.code != "EMPTY_FILE"}
    hidden = " ".join(left_out[:SHEETS_TOLD])
    if not told:
        return FileRejectedError("EMPTY_FILE", f"The workbook has no visible sheet with text in it. {hidden}".strip())
    first = next(iter(told.values()))
    if len(told) == 1:
        return FileRejectedError(first.code, f"{first.message} {hidden}".strip())
    shown = " ".join(f"Sheet {shown_name(name)}: {error.message}" for name, error in list(told.items())[:SHEETS_TOLD])
    more = f" {len(told) - SHEETS_TOLD:,} more sheets were looked at." if len(told) > SHEETS_TOLD else ""
    return FileRejectedError(first.code, f"{shown[:MESSAGE_CHARS]}{more} {hidden}".strip())


def shown_name(name: str) -> str:
    """A sheet's name for a message, bounded and printable."""
    flat = " ".join(name.split())
    return repr(flat if len(flat) <= NAME_CHARS else f"{flat[: NAME_CHARS - 3]}...")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
