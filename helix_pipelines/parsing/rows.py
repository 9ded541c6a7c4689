"""What every reader yields: records of a file, good or refused, with the place they came from."""

from __future__ import annotations

from typing import Any

import msgspec

NO_EXTRA: dict[str, Any] = {}
"""The `extra` that rows without metadata may share, never to be written to: a dict of its own for each takes a tenth of the
time in which a CSV file is read."""


# Made once for every record: a struct outside the garbage collector's books costs a third of a dataclass (rows have no cycles).
class ParsedRow(msgspec.Struct, gc=False):
    """One record of a file, as its reader saw it.

    `row_number` counts data records from 1; the header is not counted, blank records are not records. For JSON Lines it is
    the line number, for a JSON array the position of the element. `sheet` names the part of the file that the number is
    relative to (a worksheet, a member of an archive), None where a file has one part.

    Texts are as the file has them; normalisation is the next stage's. A refused record has `code` and `reason` set (a
    quarantine code and what is wrong in words) and `raw` holds whatever could be read of it; an accepted one has a
    `question` and an `answer` that are not blank, and `raw` is None.
    """

    row_number: int
    question: str = ""
    answer: str = ""
    sheet: str | None = None
    external_id: str | None = None
    category: str | None = None
    url: str | None = None
    extra: dict[str, Any] = {}
    """Columns without a role, kept as metadata: header -> JSON value."""
    code: str | None = None
    reason: str | None = None
    raw: Any = None
