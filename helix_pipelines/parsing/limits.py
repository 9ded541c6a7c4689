"""How much of a file a reader is willing to hold: the caps that keep one file from hurting the machine."""

from __future__ import annotations

from dataclasses import dataclass

from helix_pipelines.settings import Settings

RECORD_CELLS = 8
"""A record may be this many times the longest allowed cell: a few long columns are normal, hundreds of them are not."""


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """Caps on what a file may ask for.

    `file_bytes` is its size as it lies there; `expanded_bytes` and `expansion_ratio` concern compressed files only.
    `cell_chars` is the longest text of one field, `columns` the most columns of a table, `nesting` the deepest JSON or YAML
    value, `rows` the most records of a file, `sheets` of a workbook, `aliases` of a YAML file, `archive_members` the most files
    in an archive.

    Formats that have to be held whole have caps of their own: `document_bytes` for texts (YAML, Markdown, HTML),
    `workbook_bytes` for what a workbook unpacks to. They are read in a process of their own, which may ask for
    `reader_memory` bytes and be silent for `reader_timeout` seconds. `file_seconds` bounds the reading of any file.
    """

    file_bytes: int = 4 * 1024**3
    expanded_bytes: int = 8 * 1024**3
    expansion_ratio: int = 200
    cell_chars: int = 1_000_000
    columns: int = 2_000
    nesting: int = 100
    rows: int = 10_000_000
    sheets: int = 200
    aliases: int = 1_000
    document_bytes: int = 64 * 1024**2
    workbook_bytes: int = 512 * 1024**2
    archive_members: int = 10_000
    file_seconds: float = 3600.0
    reader_timeout: float = 60.0
    reader_memory: int = 2 * 1024**3

    @classmethod
    def from_settings(cls, settings: Settings) -> ParseLimits:
        """The limits of this deployment (`HELIX_MAX_*`)."""
        return cls(
            file_bytes=settings.max_file_bytes,
            expanded_bytes=settings.max_expanded_bytes,
            expansion_ratio=settings.max_expansion_ratio,
            cell_chars=settings.max_cell_chars,
            columns=settings.max_columns,
            nesting=settings.max_nesting,
            rows=settings.max_rows,
            sheets=settings.max_sheets,
            aliases=settings.max_aliases,
            document_bytes=settings.max_document_bytes,
            workbook_bytes=settings.max_workbook_bytes,
            archive_members=settings.max_archive_members,
            file_seconds=settings.max_file_seconds,
            reader_timeout=settings.reader_timeout,
            reader_memory=settings.reader_memory,
        )

    @property
    def record_chars(self) -> int:
        """The longest record, in characters, that is held in memory to be looked at."""
        return RECORD_CELLS * self.cell_chars
