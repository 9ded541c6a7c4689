"""From the fields of a table's record to a row, shared by every reader whose format has a header line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.columns import REQUIRED_ROLES, map_columns, unique_names
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.rows import NO_EXTRA, ParsedRow
from helix_pipelines.parsing.tables.csv_records import Record, TornLine
from helix_pipelines.parsing.text import storable, undecoded
from helix_pipelines.resilience.errors import FileRejectedError

LONG_CELL_CHARS_KEPT = 2_000
"""What is kept of a cell refused for its length; all other refused cells are kept whole, so that they can be repaired."""

NAME_CHARS = 40
NO_WIDTH = -1
"""A width that no record has, so that every record is examined."""


class TableRows:
    """Turns records below a header into rows and counts them.

    A record whose fields are all blank (`,,,`) is no record. Fields without a role go to `extra` where they are not empty.
    `mapping` says which header name plays which role. With `is_clean` the caller vouches that the whole file decodes and
    has no NUL, which spares the look at every field.
    """

    def __init__(
        self, header: Sequence[str], explicit: Mapping[str, str] | None, limits: ParseLimits, *, is_clean: bool
    ) -> None:
        if len(header) > limits.columns:
            raise FileRejectedError(
                "TOO_MANY_COLUMNS",
                f"The header has {len(header):,} columns and {limits.columns:,} are allowed (HELIX_MAX_COLUMNS). "
                "Is it the right file?",
            )
        self.width = len(header)
        self._positions = map_columns([name.strip() for name in header], explicit)
        self._names = unique_names(header)
        self.mapping = {role: self._names[at] for role, at in self._positions.items()}
        roles = set(self._positions.values())
        self._extras = [(name, at) for at, name in enumerate(self._names) if at not in roles]
        self._limits = limits
        self._is_clean = is_clean

    def rows(self, records: Iterable[Record], number: int, size: int) -> list[ParsedRow]:
        """The rows of the records that follow record `number`, which are counted on. `size` is the length of all their text.

        Files of any size go through this loop: a record without a flaw becomes a row in it without a call of our own, which
        would cost a twentieth of the time of reading.
        """
        rows: list[ParsedRow] = []
        append = rows.append
        at_question, at_answer = self._positions["question"], self._positions["answer"]
        at_id, at_category, at_url = (self._positions.get(role) for role in ("external_id", "category", "url"))
        extras = self._extras
        has_more = self.width > len(REQUIRED_ROLES)
        is_sound = self._is_clean and size <= self._limits.cell_chars
        easy_width = self.width if is_sound else NO_WIDTH
        for record in records:
            fields: list[str] = record  # type: ignore[assignment]  # a torn line has no width, and never comes so far
            if len(fields) != easy_width or not (fields[at_question].strip() and fields[at_answer].strip()):
                if _is_blank(record):
                    continue
                refused = self._refused(number + 1, record, is_sound=is_sound)
                if refused is not None:
                    number += 1
                    append(refused)
                    continue
                fields = [*fields, *[""] * (self.width - len(fields))]
            number += 1
            if not has_more:
                append(ParsedRow(number, fields[at_question], fields[at_answer], None, None, None, None, NO_EXTRA))
                continue
            extra = {} if extras else NO_EXTRA
            for name, at in extras:
                if field := fields[at]:
                    extra[name] = field
            append(
                ParsedRow(
                    number,
                    fields[at_question],
                    fields[at_answer],
                    None,
                    None if at_id is None else fields[at_id] or None,
                    None if at_category is None else fields[at_category] or None,
                    None if at_url is None else fields[at_url] or None,
                    extra,
                )
            )
        return rows

    def _refused(self, number: int, record: Record, *, is_sound: bool) -> ParsedRow | None:
        """The row of a record that something is wrong with, None where nothing is. `is_sound`: its texts have no flaw."""
        if isinstance(record, TornLine):
            raw = storable(record.text.rstrip("\r\n"), self._limits.cell_chars)
            return ParsedRow(number, code=record.code, reason=record.reason, raw=raw)
        refusal = (None if is_sound else self._flaw_in(record)) or self._lack(record)
        if refusal is None:
            return None
        code, reason = refusal
        return ParsedRow(number, code=code, reason=reason, raw=self._raw(record))

    def _flaw_in(self, record: list[str]) -> tuple[RowCode, str] | None:
        """What is wrong with the first bad text of a record."""
        for name, field in zip(self._all_names(record), record, strict=True):
            if (flaw := self._flaw(field)) is not None:
                return flaw[0], f"{name[:NAME_CHARS]!r} {flaw[1]}"
        return None

    def _lack(self, record: list[str]) -> tuple[RowCode, str] | None:
        """What is wrong with the shape of a record, or what is missing in it."""
        if not _is_blank(record[self.width :]):
            return RowCode.TOO_MANY_FIELDS, f"{len(record)} fields under {self.width} columns"
        for role, code in (("question", RowCode.QUESTION_MISSING), ("answer", RowCode.ANSWER_MISSING)):
            at = self._positions[role]
            if at >= len(record):
                return RowCode.TOO_FEW_FIELDS, f"{len(record)} fields, the {role} is column {at + 1}"
            if not record[at].strip():
                return code, f"{self._names[at][:NAME_CHARS]!r} is blank"
        return None

    def _flaw(self, field: str) -> tuple[RowCode, str] | None:
        if not self._is_clean and (found := undecoded(field)):
            return RowCode.BAD_ENCODING, f"has {len(found)} bytes that are no character, first {found[0]}"
        if "\0" in field:
            return RowCode.NUL_BYTE, "contains a NUL character"
        if len(field) > self._limits.cell_chars:
            return RowCode.CELL_TOO_LONG, f"has {len(field):,} characters, {self._limits.cell_chars:,} are allowed"
        return None

    def _raw(self, record: list[str]) -> dict[str, str]:
        longest = self._limits.cell_chars
        return {
            name: storable(field, LONG_CELL_CHARS_KEPT if len(field) > longest else None)
            for name, field in zip(self._all_names(record), record, strict=True)
        }

    def _all_names(self, record: list[str]) -> list[str]:
        """Names for every field of a record, also for those beyond the header."""
        beyond = [f"field {position}" for position in range(self.width + 1, len(record) + 1)]
        return self._names[: len(record)] + beyond


def _is_blank(record: Record) -> bool:
    return isinstance(record, list) and not any(map(str.strip, record))
