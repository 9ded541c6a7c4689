r"""Cutting delimited text into records with the standard csv module, and finding the place again after a torn quote.

The csv module alone reads on to the next quote, or the end of the file, when a quote is never closed, and so swallows the
rows in between. It is therefore run in strict mode over bounded windows of lines: where a quoted field does not end cleanly,
only the line in which the record began is refused and reading goes on at the next one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits

QUOTE = '"'
RUNAWAY_BREAKS = 50
"""Line breaks in one field from which it has to prove that it was meant: its record must have exactly the header's columns.

Real answers run over 284 lines (a FAQ in HTML), so the count alone is no verdict.
"""

if TYPE_CHECKING:
    from _csv import Reader

# The module-wide default of 131,072 would abort a file at one long cell; windows and `cell_chars` bound the memory instead.
csv.field_size_limit(2**31 - 1)
BATCH_RECORDS = 64


@dataclass(frozen=True, slots=True)
class TornLine:
    """A line that is not part of any record: its text, the quarantine code and the reason in words."""

    text: str
    code: RowCode
    reason: str

    def __len__(self) -> int:
        """The number of its fields: none."""
        return 0


Record = list[str] | TornLine


class CsvRecords:
    """The records of windows of lines; an empty line gives an empty list.

    Iterating gives, for each window, an iterator of its records and the number of characters it holds. As with
    `itertools.groupby`, a window's records have to be taken before the next window is asked for: keeping them would cost a
    third of the speed. `width` is the number of columns of the header, None while the header itself is looked for.
    """

    def __init__(
        self, windows: Iterable[list[str]], delimiter: str, limits: ParseLimits, width: int | None = None
    ) -> None:
        self._width = width
        self._windows = windows
        self._delimiter = delimiter
        self._limits = limits
        self._used = 0

    def __iter__(self) -> Iterator[tuple[Iterator[Record], int]]:
        pending: list[str] = []
        for window in self._windows:
            lines = pending + window if pending else window
            size = sum(map(len, lines))
            if size > self._limits.record_chars:
                yield chain.from_iterable(self._parse_around_long_lines(lines)), size
            else:
                yield chain.from_iterable(self._parse(lines, size, is_last=False)), size
            pending = lines[self._used :]
        if pending:
            size = sum(map(len, pending))
            yield chain.from_iterable(self._parse(pending, size, is_last=True)), size

    def _parse_around_long_lines(self, lines: list[str]) -> Iterator[list[Record]]:
        """As `_parse`, but lines that no record may be as long as are refused unread and end what is before them."""
        longest = self._limits.record_chars
        begin = 0
        for at, line in enumerate(lines):
            if len(line) > longest:
                yield from self._parse(lines[begin:at], longest, is_last=True)
                yield [TornLine(line, RowCode.CELL_TOO_LONG, f"the line has more than {longest:,} characters")]
                begin = at + 1
        yield from self._parse(lines[begin:], longest, is_last=False)
        self._used += begin

    def _parse(self, lines: list[str], size: int, *, is_last: bool) -> Iterator[list[Record]]:
        """The complete records of `lines`; `_used` is then the number of lines they took. `is_last`: nothing follows."""
        begin = 0
        may_be_long = size > self._limits.cell_chars
        while begin < len(lines):
            reader = self._reader(lines, begin)
            taken = 0
            try:
                while batch := list(islice(reader, BATCH_RECORDS)):
                    if may_be_long or self._may_have_swallowed(batch, reader.line_num - taken):
                        break
                    yield batch  # type: ignore[misc]
                    taken = reader.line_num
                else:
                    self._used = len(lines)
                    return
            except csv.Error:
                pass  # found again below, one record at a time
            records, begin, failure = self._parse_singly(lines, begin + taken)
            yield records
            if failure is None:
                continue
            if failure == len(lines) and not is_last and self._may_still_close(lines[begin:]):
                break
            yield [self._judge(lines[begin])]
            begin += 1
        self._used = begin

    def _parse_singly(self, lines: list[str], origin: int) -> tuple[list[Record], int, int | None]:
        """At most a batch of records from line `origin` on, the line after them, and, where the record that begins there
        does not end cleanly, the line up to which it was read.
        """
        records: list[Record] = []
        reader = self._reader(lines, origin)
        begin = origin
        try:
            for record in islice(reader, BATCH_RECORDS):
                end = origin + reader.line_num
                if end - begin > 1 and self._has_swallowed(record):
                    return records, begin, begin
                records.append(record)
                begin = end
        except csv.Error:
            return records, begin, origin + reader.line_num
        return records, begin, None

    def _reader(self, lines: list[str], begin: int) -> Reader:
        rest = iter(lines)
        rest.__setstate__(begin)  # type: ignore[attr-defined]  # where islice would walk over the lines before, again for every torn one
        return csv.reader(rest, delimiter=self._delimiter, strict=True)

    def _may_have_swallowed(self, batch: list[list[str]], lines: int) -> bool:
        """Whether `_has_swallowed` can hold for any record, found out without a look at most of them."""
        return lines - len(batch) > RUNAWAY_BREAKS and any(len(record) != self._width for record in batch)

    def _has_swallowed(self, record: list[str]) -> bool:
        """Whether a record over several lines has a field that ran on to some later quote."""
        longest = max(record, key=len)
        if len(longest) > self._limits.cell_chars:
            return True
        return len(record) != self._width and any(_breaks(field) > RUNAWAY_BREAKS for field in record)

    def _may_still_close(self, lines: list[str]) -> bool:
        """Whether the record that is open at the end of a window deserves more lines."""
        size = sum(map(len, lines))
        if size <= self._limits.cell_chars:
            return True
        open_field = next(csv.reader(lines, delimiter=self._delimiter))[-1]
        return size <= self._limits.record_chars and len(open_field) <= self._limits.cell_chars

    def _judge(self, line: str) -> Record:
        """What to make of a line whose record does not end cleanly.

        A line whose quotes pair up and whose fields, taken literally, fill the header's columns (`5" disk, a "b" c`) is
        kept as it is written. Reading it leniently instead would drop quotes from the text without a word.
        """
        if _is_open(line, self._delimiter):
            return TornLine(line, RowCode.UNCLOSED_QUOTE, "a double quote opens a text and is not closed in time")
        literal = next(csv.reader([line], delimiter=self._delimiter, quoting=csv.QUOTE_NONE))
        if len(literal) == self._width:
            return literal
        return TornLine(line, RowCode.STRAY_QUOTE, "a quoted text has a double quote inside that is not written twice")


def _is_open(line: str, delimiter: str) -> bool:
    """Whether the quoted field of a line goes on in the next one, or was never closed."""
    if line.count(QUOTE) % 2:
        return True
    return len(list(csv.reader([line, QUOTE], delimiter=delimiter))) == 1


def _breaks(field: str) -> int:
    return field.count("\n") + field.count("\r") - field.count("\r\n")
