"""Opening a source that may be gzipped, with caps on what comes out of it."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 18
RATIO_APPLIES_FROM = 64 * 1024**2
"""Below this many expanded bytes no ratio is suspicious: a table with one long run of spaces is harmless at 1000:1."""


def open_plain(source: Callable[[], BinaryIO], compression: str | None, limits: ParseLimits) -> BinaryIO:
    """The plain bytes of a source; `compression` is None or "gzip".

    Reading raises FileRejectedError: EXPANDED_TOO_LARGE, EXPANSION_RATIO, COMPRESSION_DAMAGED.
    """
    binary = source()
    if compression is None:
        return binary
    return cast("BinaryIO", io.BufferedReader(_CappedGzip(binary, limits), READ_BYTES))


def refuse_ratio(expanded: int, packed: int, limits: ParseLimits) -> None:
    """Raise FileRejectedError (EXPANSION_RATIO) where `packed` bytes have become more than real tables ever do."""
    if expanded > max(RATIO_APPLIES_FROM, packed * limits.expansion_ratio):
        message = (
            f"The file unpacks to more than {limits.expansion_ratio} times its size, which real tables do not. "
            "Hand it over unpacked, or raise HELIX_MAX_EXPANSION_RATIO."
        )
        raise FileRejectedError("EXPANSION_RATIO", message)


class _CappedGzip(io.RawIOBase):
    """Reads gzip, several members in a row too, and stops where the limits are crossed or the data is damaged."""

    def __init__(self, binary: BinaryIO, limits: ParseLimits) -> None:
        super().__init__()
        self._counted = _CountedReads(binary)
        self._gzip = gzip.GzipFile(fileobj=self._counted, mode="rb")
        self._limits = limits
        self._expanded = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            block = self._gzip.read(len(view))
        except EOFError as error:
            message = "The compressed file ends in the middle: it was cut off. Copy or export it again."
            raise FileRejectedError("COMPRESSION_DAMAGED", message) from error
        except (zlib.error, gzip.BadGzipFile) as error:
            message = f"The compressed file is damaged ({error}). Copy or compress it again."
            raise FileRejectedError("COMPRESSION_DAMAGED", message) from error
        self._expanded += len(block)
        self._check()
        view[: len(block)] = block
        return len(block)

    def _check(self) -> None:
        if self._expanded > self._limits.expanded_bytes:
            message = (
                f"Unpacked, the file is larger than {self._limits.expanded_bytes:,} bytes. "
                "Split it, or raise HELIX_MAX_EXPANDED_BYTES."
            )
            raise FileRejectedError("EXPANDED_TOO_LARGE", message)
        refuse_ratio(self._expanded, self._counted.total, self._limits)

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._counted.close()
        super().close()


class _CountedReads(io.RawIOBase):
    """Passes reads on and counts the compressed bytes, for sources that cannot tell their position."""

    def __init__(self, binary: BinaryIO) -> None:
        super().__init__()
        self._binary = binary
        self.total = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._binary.read(size)
        self.total += len(block)
        return block

    def close(self) -> None:
        self._binary.close()
        super().close()
