"""Reading untrusted bytes in a process of its own, where a crash, a hang or a runaway cannot take the run down with it.

Formats that are held whole are taken apart by libraries in C and Rust that files from outside have crashed before. Their
readers run in a child with limits on memory, processor time and files written; rows come back as frames over a socket. The
child is kept for the next file, as its start costs 0.1 to 0.4 s.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgspec

from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.resilience.errors import FileRejectedError, TransientError

LENGTH = struct.Struct("!I")
FRAME_BYTES = 1 << 29
"""No chunk comes near: it has 8 MB of text, or one record of eight cells of the longest length."""
GRACE_SECONDS = 5.0
"""The child ends itself when its time is over; if it does not, the parent ends it this much later."""
OUT_OF_TIME = {-signal.SIGALRM, -signal.SIGXCPU}
ENDED_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
WORKER = "helix_pipelines.parsing.confined_worker"


class OpenFile(msgspec.Struct, tag="open"):
    """Parent to child, together with the descriptor of the file."""

    sniffed: Sniffed
    limits: ParseLimits
    mapping: dict[str, str]
    sheets: tuple[str, ...]


class ReadRows(msgspec.Struct, tag="rows"):
    """Parent to child: the chunks of the file that was opened, in the reader's own words."""

    max_rows: int
    max_bytes: int
    skip: int


class Opened(msgspec.Struct, tag="opened"):
    """Child to parent: what the reader knows of the file."""

    version: str
    mapping: dict[str, str]
    notes: list[Note]


class Chunk(msgspec.Struct, tag="chunk"):
    """Child to parent: some rows."""

    rows: list[ParsedRow]


class Ended(msgspec.Struct, tag="ended"):
    """Child to parent: there are no more rows."""


class Rejected(msgspec.Struct, tag="rejected"):
    """Child to parent: the reader refuses the file."""

    code: str
    message: str


Request = OpenFile | ReadRows
Answer = Opened | Chunk | Ended | Rejected


class ReaderLostError(TransientError):
    """The process that read a file was ended from outside; the file may be as good as any."""


class ReaderProcess:
    """One child that reads one file after the other; it is started when the first one is opened."""

    def __init__(self, worker: str = WORKER) -> None:
        self._worker = worker
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)

    @contextlib.contextmanager
    def open(self, request: ReadRequest) -> Iterator[ConfinedReader]:
        """The reader of one file, for as long as the block lasts.

        Raises FileRejectedError as the reader does, or where it crashes (READER_CRASHED), runs out of memory
        (READER_OUT_OF_MEMORY) or takes too long (READING_TIMED_OUT); ReaderLostError where the child was ended from outside.
        """
        with contextlib.closing(_descriptor(request)) as file:
            reader = ConfinedReader(self, self._opened(request, file), request.limits)
        try:
            yield reader
        finally:
            if reader.is_streaming:
                self.close()  # it is in the middle of a file that nobody wants any more

    def close(self) -> None:
        """End the child; the next file gets a new one."""
        if self._socket is not None:
            self._socket.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = self._socket = None

    def rows(self, asked: ReadRows, limits: ParseLimits) -> Iterator[list[ParsedRow]]:
        """The chunks of the file that is open."""
        self._send(msgspec.msgpack.encode(asked))
        while isinstance(answer := self._receive(limits), Chunk):
            yield answer.rows

    def _opened(self, request: ReadRequest, file: BinaryIO) -> Opened:
        asked = OpenFile(request.sniffed, request.limits, dict(request.mapping), request.sheets)
        if self._socket is None:
            self._start()
        self._send(msgspec.msgpack.encode(asked), file.fileno())
        answer = self._receive(request.limits)
        assert isinstance(answer, Opened), "the worker answers a file with what it is"
        return answer

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", self._worker, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a crash speaks through its signal; a library's panic prints what the file says
            )
        self._socket = ours

    def _send(self, message: bytes, descriptor: int | None = None) -> None:
        assert self._socket is not None
        self._socket.settimeout(GRACE_SECONDS)
        try:
            frame = LENGTH.pack(len(message)) + message
            if descriptor is not None:
                sent = socket.send_fds(self._socket, [frame], [descriptor])
                frame = frame[sent:]
            self._socket.sendall(frame)
        except OSError as error:
            raise self._died(error) from error

    def _receive(self, limits: ParseLimits) -> Answer:
        assert self._socket is not None
        self._socket.settimeout(limits.reader_timeout + GRACE_SECONDS)
        try:
            (size,) = LENGTH.unpack(self._exactly(LENGTH.size))
            if size > FRAME_BYTES:
                raise msgspec.DecodeError("no frame has that length")
            answer = self._answers.decode(self._exactly(size))
        except (OSError, msgspec.DecodeError) as error:
            raise self._died(error) from error
        if isinstance(answer, Rejected):
            raise FileRejectedError(answer.code, answer.message)
        return answer

    def _exactly(self, size: int) -> bytes:
        assert self._socket is not None
        frame = bytearray(size)
        view = memoryview(frame)
        while view:
            received = self._socket.recv_into(view)
            if not received:
                raise ConnectionResetError
            view = view[received:]
        return bytes(frame)

    def _died(self, error: Exception) -> FileRejectedError | ReaderLostError:
        """What it means that the child does not answer; its signal tells whose fault it was. It is gone afterwards."""
        assert self._child is not None
        ended = None
        if not isinstance(error, TimeoutError | msgspec.DecodeError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                ended = self._child.wait(GRACE_SECONDS)
        self.close()
        if isinstance(error, TimeoutError) or ended in OUT_OF_TIME:
            return _timed_out()
        if ended in ENDED_FROM_OUTSIDE:
            return ReaderLostError("READER_LOST", "The process that read the file was ended from outside.")
        return _crashed()


class ConfinedReader:
    """A `Reader` whose work is done in a child."""

    def __init__(self, process: ReaderProcess, opened: Opened, limits: ParseLimits) -> None:
        self.version = opened.version
        self.mapping = opened.mapping
        self.notes = opened.notes
        self.is_streaming = False
        self._process = process
        self._limits = limits

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """As `Reader.chunks`; what was begun has to be taken to its end before it can be begun again."""
        assert not self.is_streaming, "one stream at a time"
        self.is_streaming = True
        yield from self._process.rows(ReadRows(max_rows, max_bytes, skip), self._limits)
        self.is_streaming = False


def _descriptor(request: ReadRequest) -> BinaryIO:
    """The file itself where it is one, else a copy without a name: readers seek, object stores do not."""
    binary = request.source()
    try:
        if stat.S_ISREG(os.fstat(binary.fileno()).st_mode):
            return binary
    except OSError:
        pass  # no file of this machine
    with contextlib.closing(binary):
        copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by the caller
        shutil.copyfileobj(binary, copy)
        copy.flush()
        return copy


def _timed_out() -> FileRejectedError:
    message = (
        "The file takes longer to read than is allowed (HELIX_READER_TIMEOUT, HELIX_MAX_FILE_SECONDS). Split it, or export it"
        " as CSV or JSON Lines, which are read row by row."
    )
    return FileRejectedError("READING_TIMED_OUT", message)


def _crashed() -> FileRejectedError:
    message = (
        "The file made its reader crash or run out of memory (HELIX_READER_MEMORY): it is damaged, or very large. Open it and"
        " export it again, best as CSV or JSON Lines."
    )
    return FileRejectedError("READER_CRASHED", message)


def encoded(message: Any) -> bytes:
    """A message as one frame."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
