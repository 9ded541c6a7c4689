"""The child of `confinement.py`: takes the descriptor of a file, reads it under limits, and sends what it finds.

It ends with its parent: the socket closes. A reader that hangs is ended by the process's own alarm, so that nothing is left
behind where the parent was killed.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

import msgspec

from helix_pipelines.parsing.confinement import (
    LENGTH,
    Chunk,
    Ended,
    Opened,
    OpenFile,
    ReadRows,
    Rejected,
    Request,
    encoded,
)
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import Reader, reader_factory
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.resilience.errors import FileRejectedError


class Worker:
    """Serves one parent over a connected socket."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._requests = msgspec.msgpack.Decoder(Request)
        self._file = -1

    def serve(self) -> None:
        """Read one file after the other until the parent leaves."""
        asked = self._next()
        while isinstance(asked, OpenFile):
            try:
                asked = self._read(asked)
            except FileRejectedError as error:
                refusal = error
            except MemoryError:
                refusal = _out_of_memory()
            except Exception as error:  # noqa: BLE001 - whatever a file brings about is that file's end, and no other's
                refusal = _failed(error)
            else:
                continue
            self._parent.sendall(encoded(Rejected(refusal.code, refusal.message)))
            asked = self._next()

    def _read(self, file: OpenFile) -> Request | None:
        request = ReadRequest(self._source, file.sniffed, file.limits, file.mapping, file.sheets)
        factory = reader_factory(file.sniffed.format)  # loads its library, before memory is bounded
        confine(file.limits)
        with alarm(file.limits):
            reader = factory(request)
        self._parent.sendall(encoded(Opened(reader.version, reader.mapping, reader.notes)))
        while isinstance(asked := self._next(), ReadRows):
            self._stream(reader, asked, file.limits)
        return asked

    def _stream(self, reader: Reader, asked: ReadRows, limits: ParseLimits) -> None:
        chunks = reader.chunks(asked.max_rows, asked.max_bytes, asked.skip)
        while True:
            with alarm(limits):
                rows = next(chunks, None)
                frame = encoded(Ended() if rows is None else Chunk(rows))
            self._parent.sendall(frame)  # waits for as long as the parent stores what it has
            if rows is None:
                return

    def _source(self) -> BinaryIO:
        """The file anew, with a position of its own."""
        return open(f"/dev/fd/{self._file}", "rb")  # noqa: PTH123 - closed by the reader

    def _next(self) -> Request | None:
        """The next request, None when the parent has left."""
        head, descriptors, _, _ = socket.recv_fds(self._parent, LENGTH.size, 1)
        if not head:
            return None
        if descriptors:
            if self._file >= 0:
                os.close(self._file)
            self._file = descriptors[0]
        (size,) = LENGTH.unpack(head + self._exactly(LENGTH.size - len(head)))
        return self._requests.decode(self._exactly(size))  # type: ignore[no-any-return]

    def _exactly(self, size: int) -> bytes:
        frame = b""
        while len(frame) < size:
            block = self._parent.recv(size - len(frame))
            if not block:
                raise SystemExit
            frame += block
        return frame


@contextlib.contextmanager
def alarm(limits: ParseLimits) -> Iterator[None]:
    """End this process if the block takes longer than a reader may be silent."""
    signal.setitimer(signal.ITIMER_REAL, limits.reader_timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def confine(limits: ParseLimits) -> None:
    """Bound what this process may take for its next file: memory, processor time, and no file may be written."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = limits.reader_memory if most == resource.RLIM_INFINITY else min(limits.reader_memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + limits.file_seconds), most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _out_of_memory() -> FileRejectedError:
    message = (
        "The file needs more memory than a reader may have (HELIX_READER_MEMORY). Split it, or export it as CSV or JSON Lines,"
        " which are read row by row."
    )
    return FileRejectedError("READER_OUT_OF_MEMORY", message)


def _failed(error: Exception) -> FileRejectedError:
    """The refusal for an error that no reader should let out; its place is for whoever mends the reader."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    message = (
        f"The reader met something that it does not know ({type(error).__name__} at {PurePath(at.filename).name}:{at.lineno})."
        " Open the file and export it again, best as CSV or JSON Lines."
    )
    return FileRejectedError("READER_FAILED", message)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        Worker(connection).serve()
