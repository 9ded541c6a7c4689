"""Reader of corrections: rows that were refused once and come back repaired, each under the number that it had.

The file is JSON Lines and says what it is in its first line, `{"helix_corrections":1,"import":42}`. Every other line is a row,
with what there is of `{"row": 17, "sheet": "FAQ", "question": "...", "answer": "...", "external_id": "...", "category": "...",
"url": "...", "extra": {...}}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RefusedRowError, RowCode
from helix_pipelines.parsing.columns import REQUIRED_ROLES, ROLES
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.objects.strict_json import StrictDecoder
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.text import UNIX_NEWLINE, line_windows, storable, undecoded
from helix_pipelines.resilience.errors import FileRejectedError

FORMAT = "corrections"
VERSION = 1
MARK = "helix_corrections"
MISSING = {"question": RowCode.QUESTION_MISSING, "answer": RowCode.ANSWER_MISSING}
ROW_NUMBERS = range(1, 2**31)


class CorrectionsReader:
    """Streams the corrected rows. `row_number` and `sheet` are those of the rows in the file that they were refused from.

    Raises FileRejectedError (CORRECTIONS_UNREADABLE) where the first line or the place of a row cannot be read: a row without
    its place could not be told from the others.
    """

    version = "corrections-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self._decoder = StrictDecoder(request.limits.nesting)
        self.notes: list[Note] = []
        self.mapping = {role: role for role in ROLES}
        self.import_id = self._read_first_line()

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip`, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _read_first_line(self) -> int:
        first = next((line for window in self._windows() for line in window), "")
        header = self._decode(first)
        if not isinstance(header, dict) or header.get(MARK) != VERSION or not isinstance(header.get("import"), int):
            raise _unreadable(f"its first line is not that of version {VERSION}")
        return int(header["import"])

    def _windows(self) -> Iterator[list[str]]:
        sniffed, limits = self._request.sniffed, self._request.limits
        with open_plain(self._request.source, sniffed.compression, limits) as binary:
            yield from line_windows(
                binary, sniffed.encoding or "utf-8", sniffed.errors, UNIX_NEWLINE, limits.record_chars
            )

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        records = -1  # the first line is none
        for window in self._windows():
            rows: list[ParsedRow] = []
            for line in window:
                if line.isspace():
                    continue
                records += 1
                if records > skip:
                    rows.append(self._row(line))
            yield rows, sum(map(len, window))

    def _row(self, line: str) -> ParsedRow:
        record = self._decode(line)
        if not isinstance(record, dict):
            raise _unreadable("a line is not an object")
        number, sheet = record.get("row"), record.get("sheet")
        if type(number) is not int or number not in ROW_NUMBERS or not isinstance(sheet, str | None):
            raise _unreadable("a line does not say which row it corrects")
        row = ParsedRow(number, sheet=sheet or None)
        try:
            self._fill(row, record)
        except RefusedRowError as refusal:
            return ParsedRow(number, sheet=row.sheet, code=refusal.code, reason=refusal.reason, raw=record)
        return row

    def _fill(self, row: ParsedRow, record: dict[str, Any]) -> None:
        """Raises RefusedRowError."""
        longest = self._request.limits.cell_chars
        for role in ROLES:
            text = record.get(role)
            if not isinstance(text, str | None):
                raise RefusedRowError(RowCode.NOT_A_TEXT, f"{role!r} is not a text")
            if text and len(text) > longest:
                reason = f"{role!r} has {len(text):,} characters, {longest:,} are allowed"
                raise RefusedRowError(RowCode.CELL_TOO_LONG, reason)
            if role in REQUIRED_ROLES and not (text and text.strip()):
                raise RefusedRowError(MISSING[role], f"{role!r} is blank")
            setattr(row, role, text)
        extra = record.get("extra")
        row.extra = extra if isinstance(extra, dict) else {}

    def _decode(self, line: str) -> Any:
        if self._request.sniffed.has_bad_bytes and undecoded(line):
            raise _unreadable("it holds bytes that are no text")
        try:
            return self._decoder.decode(line)
        except RefusedRowError as refusal:
            raise _unreadable(f"{storable(refusal.reason)} ({refusal.code})") from refusal


def _unreadable(reason: str) -> FileRejectedError:
    return FileRejectedError(
        "CORRECTIONS_UNREADABLE",
        f"The file of corrections cannot be read: {reason}. Run `helix quarantine replay` with the corrected export again.",
    )
