"""A worker as the product's own, but with readers that do what hostile files make libraries do; `format` says which."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from helix_pipelines.parsing import readers
from helix_pipelines.parsing.confined_worker import Worker
from helix_pipelines.parsing.notes import Note, NoteCode
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError


class LineReader:
    """Every line of the file is a row."""

    version = "lines-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self.mapping = dict(request.mapping)
        self.notes = [Note(NoteCode.PART_LEFT_OUT, "as a test")]

    def chunks(self, max_rows: int = 2, max_bytes: int = 0, skip: int = 0) -> Iterator[list[ParsedRow]]:
        with self._request.source() as binary:
            rows = [ParsedRow(at, line.decode(), "x", extra={"at": [at]}) for at, line in enumerate(binary, start=1)]
        for begin in range(skip, len(rows), max_rows):
            self.before(begin)
            yield rows[begin : begin + max_rows]

    def before(self, begin: int) -> None:
        """What goes wrong before the rows from `begin` on."""


class SegfaultingReader(LineReader):
    def before(self, begin: int) -> None:
        if begin:
            os.kill(os.getpid(), signal.SIGSEGV)


class KilledReader(LineReader):
    def before(self, begin: int) -> None:
        if begin:
            os.kill(os.getpid(), signal.SIGKILL)


class HangingReader(LineReader):
    def before(self, begin: int) -> None:
        time.sleep(600)


class GreedyReader(LineReader):
    def before(self, begin: int) -> None:
        bytearray(8 * 1024**3)


class FaultyReader(LineReader):
    def before(self, begin: int) -> None:
        raise ValueError("a bug")


class WritingReader(LineReader):
    def before(self, begin: int) -> None:
        Path(f"/tmp/helix-{os.getpid()}").write_text("from a hostile file")


class RefusingReader(LineReader):
    def __init__(self, request: ReadRequest) -> None:
        raise FileRejectedError("EMPTY_FILE", "There is nothing in it.")


for reader in (LineReader, SegfaultingReader, KilledReader, HangingReader, GreedyReader, FaultyReader, WritingReader,
               RefusingReader):  # fmt: skip
    setattr(readers, reader.__name__, reader)
    readers.READERS[reader.__name__] = f"readers:{reader.__name__}"

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        Worker(connection).serve()
