"""Reading a file to its end, whatever is done with its rows: within the limits, and again where its reader was killed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from helix_pipelines.parsing.confinement import ReaderLostError, ReaderProcess
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import Reader, open_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError

READERS_LOST = 3
"""Times that the process which reads a file may be killed from outside; then the system may be killing it for its size."""


def read_through(request: ReadRequest, process: ReaderProcess, work: Callable[[Reader], None]) -> None:
    """Let `work` read a file; it is called again, from the start, where the process that reads the file was killed.

    Raises what `open_reader` and `work` raise, FileRejectedError (READER_CRASHED) where the process is killed again and again.
    """
    for losses in count(1):
        try:
            with open_reader(request, process) as reader:
                work(reader)
        except ReaderLostError as error:
            if losses == READERS_LOST:
                message = f"The process that reads the file was killed {losses} times: is the machine out of memory?"
                raise FileRejectedError("READER_CRASHED", message) from error
        else:
            return


def refuse_endless(records: int, seconds: float, limits: ParseLimits) -> None:
    """Raise FileRejectedError (TOO_MANY_ROWS, READING_TIMED_OUT) once a file has more records, or takes longer, than allowed."""
    if records > limits.rows:
        raise FileRejectedError(
            "TOO_MANY_ROWS", f"The file has more than {limits.rows:,} records: split it, or raise HELIX_MAX_ROWS."
        )
    if seconds > limits.file_seconds:
        raise FileRejectedError(
            "READING_TIMED_OUT",
            f"Reading the file took more than {limits.file_seconds:,.0f} s: split it, or raise HELIX_MAX_FILE_SECONDS.",
        )


def refuse_empty(records: int) -> None:
    """Raise FileRejectedError (NO_RECORDS) where a file has come to its end without a record."""
    if records == 0:
        raise FileRejectedError(
            "NO_RECORDS", "The file has a header but no records: fill it in and hand it over again."
        )
