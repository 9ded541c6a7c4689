"""The text of a spreadsheet's typed cell, as a person sees it in a cell without special formatting."""

from __future__ import annotations

import datetime as dt

Cell = str | int | float | bool | dt.date | dt.datetime | dt.time | dt.timedelta
"""What python-calamine hands out. Blank cells, errors such as #N/A and formulas without a stored result are empty texts."""

EXACT_INTEGERS = 2.0**53
"""Above, not every integer is a double; spreadsheets show such numbers with an exponent."""
SHOWN_DIGITS = ".15g"
"""Spreadsheets store doubles and show 15 digits: 0.1 + 0.2 is 0.3 to whoever wrote it."""


def cell_text(cell: Cell) -> str:
    """42 and not 42.0, true, 2020-01-02, 2020-01-02T03:04:05, 03:04:05; durations as hours, 36:00:00."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) <= EXACT_INTEGERS else format(cell, SHOWN_DIGITS)
    if isinstance(cell, dt.timedelta):
        return _hours(cell)
    return str(cell) if isinstance(cell, int) else cell.isoformat()


def _hours(duration: dt.timedelta) -> str:
    sign = "-" if duration < dt.timedelta() else ""
    microseconds = abs(duration) // dt.timedelta(microseconds=1)
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text
