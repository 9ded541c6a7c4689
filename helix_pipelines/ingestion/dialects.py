"""Which character separates the columns of a text, judged by whole records and not by counting characters."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from helix_pipelines.parsing.columns import has_pairs
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.tables.csv_records import CsvRecords, Record

DELIMITERS = (",", ";", "\t", "|", "\x1f", "\x01", "^", "~")
"""In the order in which they win a tie."""
SAMPLE_RECORDS = 500
FITTING_SHARE = 0.6
"""Of the sampled records, this many must have the header's width where its names say nothing."""

TITLE_LINES = 20
"""Reports have a title, a date and some blank lines above their table; what begins later is no title."""

_MARKDOWN_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)+\|?\s*")
"""The line below the header of a table in Markdown."""
_SEPARATOR_LINE = re.compile(r"sep=(.)(?:\r\n|\n|\r)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How delimited text is cut. `preamble_lines` precede the header: `sep=;`, Excel's convention, or a title and blank lines."""

    delimiter: str
    preamble_lines: int = 0


def detect_dialect(sample: str, limits: ParseLimits, *, may_have_title: bool) -> tuple[Dialect | None, bool]:
    """The dialect of a text that starts with `sample`, None where it is no table; and whether its header names a pair.

    Where it `may_have_title`, the header may stand below one; documents have titles, too, and tables of their own.
    """
    announced = _SEPARATOR_LINE.match(sample)
    if announced:
        rest = sample[announced.end() :]
        return Dialect(announced[1], preamble_lines=1), has_pairs(_header(_records(rest, announced[1], limits)))
    best: tuple[tuple[bool, float, int], str] | None = None
    for delimiter in DELIMITERS:
        if delimiter not in sample:
            continue
        score = _score(_records(sample, delimiter, limits))
        if best is None or score > best[0]:
            best = score, delimiter
    titled = _below_title(sample) if may_have_title and (best is None or not best[0][0]) else None
    if titled is not None:
        return titled, True
    if best is None:
        return None, False
    (names_a_pair, fit, width), delimiter = best
    is_table = width > 1 and (names_a_pair or fit >= FITTING_SHARE)
    return (Dialect(delimiter) if is_table else None), names_a_pair and width > 1


def _below_title(sample: str) -> Dialect | None:
    """The dialect of a table whose header names a pair and stands below a title: lines with no more than one filled field."""
    lines = io.StringIO(sample, newline="").readlines()[: TITLE_LINES + 1]
    for delimiter in (known for known in DELIMITERS if known in sample):
        for count, line in enumerate(lines):
            fields = next(csv.reader([line], delimiter=delimiter), [])
            if count and has_pairs(fields):
                is_markdown = _MARKDOWN_RULE.fullmatch("".join(lines[count + 1 : count + 2])) is not None
                return None if is_markdown else Dialect(delimiter, preamble_lines=count)
            if sum(bool(field.strip()) for field in fields) > 1:
                break
    return None


def _records(sample: str, delimiter: str, limits: ParseLimits) -> list[Record]:
    """The records of a sample that may break off anywhere, so without the last one unless it is the only one."""
    lines = io.StringIO(sample, newline="").readlines()
    records = [record for window, _ in CsvRecords([lines], delimiter, limits) for record in window if record != []]
    return records[: SAMPLE_RECORDS + 1] if len(records) <= 2 else records[:-1][: SAMPLE_RECORDS + 1]  # noqa: PLR2004


def _header(records: list[Record]) -> list[str]:
    return records[0] if records and isinstance(records[0], list) else []


def _score(records: list[Record]) -> tuple[bool, float, int]:
    """Header names first, then the share of records that are as wide as the header, then its width."""
    header = _header(records)
    width = len(header)
    if width < 2:  # noqa: PLR2004 - one column is no table
        return False, 0.0, width
    body = records[1:]
    fit = sum(isinstance(record, list) and len(record) == width for record in body) / len(body) if body else 1.0
    return has_pairs(header), round(fit, 2), width
