"""The registry of readers: a new format is one module and one line in `READERS`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, cast

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS
from helix_pipelines.parsing.confinement import ReaderProcess
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError


class Reader(Protocol):
    """One file, opened: its columns are known, its rows can be streamed any number of times.

    A reader is made from a `ReadRequest`; making it raises FileRejectedError where the file cannot be read at all or question
    and answer cannot be found.
    """

    version: str
    """Changes whenever the same bytes would give other rows or other row numbers; a checkpoint holds for one version."""
    mapping: dict[str, str]
    """Role (`columns.ROLES`) -> name of the column that plays it."""
    notes: list[Note]
    """What was left out of the file, known as soon as it is opened."""

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """Rows in file order, refused ones among them, in chunks that fit one transaction.

        `skip` leaves out that many records from the start, whatever became of them; row numbers stay the same.
        Raises FileRejectedError where the file turns out to be unreadable on the way.
        """
        ...


READERS = {
    "csv": "tables.delimited:DelimitedReader",
    "tsv": "tables.delimited:DelimitedReader",
    "jsonl": "objects.json_lines:JsonLinesReader",
    "json": "objects.json_array:JsonArrayReader",
    "yaml": "objects.yaml_documents:YamlReader",
    "corrections": "corrections:CorrectionsReader",
    "xlsx": "tables.workbook:WorkbookReader",
    "xlsb": "tables.workbook:WorkbookReader",
    "xls": "tables.workbook:WorkbookReader",
    "ods": "tables.workbook:WorkbookReader",
    "parquet": "tables.parquet:ParquetReader",
    "markdown": "documents.markdown_documents:MarkdownReader",
    "html": "documents.html_documents:HtmlReader",
}
"""Format -> module in this package and class; loaded when the first such file is opened, as some bring large libraries."""


STREAMED = frozenset({"csv", "tsv", "jsonl", "json", "corrections"})
"""Read in the process that asks, by Python code in bounded memory; all other formats are read in one of their own."""


@contextmanager
def open_reader(request: ReadRequest, process: ReaderProcess | None = None) -> Iterator[Reader]:
    """Open the reader for what `sniff` found, for as long as the block lasts.

    `process` is where formats that are held whole are read; whoever opens many files keeps one for them.

    Raises FileRejectedError where question and answer cannot be found or the file cannot be read at all; ReaderLostError
    where the process that reads it was killed.
    """
    if request.sniffed.format in STREAMED:
        yield make_reader(request)
    elif process is not None:
        with process.open(request) as reader:
            yield reader
    else:
        with closing(ReaderProcess()) as own, own.open(request) as reader:
            yield reader


def make_reader(request: ReadRequest) -> Reader:
    """The reader itself, in this process. Raises FileRejectedError as `open_reader`."""
    return reader_factory(request.sniffed.format)(request)


def reader_factory(name: str) -> Callable[[ReadRequest], Reader]:
    """What makes the readers of a format. Raises FileRejectedError (UNSUPPORTED_FORMAT)."""
    if name not in READERS:
        raise FileRejectedError(
            "UNSUPPORTED_FORMAT", f"There is no reader for {name!r}; known are {', '.join(READERS)}."
        )
    return cast("Callable[[ReadRequest], Reader]", pkgutil.resolve_name(f"{__package__}.{READERS[name]}"))
