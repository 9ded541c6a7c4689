"""The registry of readers: a new format is one module and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS
from helix_pipelines.parsing.delimited import DelimitedReader
from helix_pipelines.parsing.json_array import JsonArrayReader
from helix_pipelines.parsing.json_lines import JsonLinesReader
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError


class Reader(Protocol):
    """One file, opened: its columns are known, its rows can be streamed any number of times."""

    version: str
    """Changes whenever the same bytes would give other rows or other row numbers; a checkpoint holds for one version."""
    mapping: dict[str, str]
    """Role (`columns.ROLES`) -> name of the column that plays it."""

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """Rows in file order, refused ones among them, in chunks that fit one transaction.

        `skip` leaves out that many records from the start, whatever became of them; row numbers stay the same.
        Raises FileRejectedError where the file turns out to be unreadable on the way.
        """
        ...


ReaderFactory = Callable[[Callable[[], BinaryIO], Sniffed, Mapping[str, str] | None, ParseLimits], Reader]

READERS: dict[str, ReaderFactory] = {
    "csv": DelimitedReader,
    "tsv": DelimitedReader,
    "jsonl": JsonLinesReader,
    "json": JsonArrayReader,
}


def open_reader(
    source: Callable[[], BinaryIO], sniffed: Sniffed, mapping: Mapping[str, str] | None, limits: ParseLimits
) -> Reader:
    """Open the reader for what `sniff` found. `mapping` is role -> column name as given by the user.

    Raises FileRejectedError where question and answer cannot be found or the file cannot be read at all.
    """
    factory = READERS.get(sniffed.format)
    if factory is None:
        known = ", ".join(READERS)
        raise FileRejectedError("UNSUPPORTED_FORMAT", f"There is no reader for {sniffed.format!r}; known are {known}.")
    return factory(source, sniffed, mapping, limits)
