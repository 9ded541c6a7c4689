"""Reader of Parquet files, by pyarrow: batches of rows are decoded one after the other, never a row group as a whole."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from helix_pipelines.parsing.chunking import CHUNK_BYTES, CHUNK_ROWS, chunked
from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.columns import unique_names
from helix_pipelines.parsing.containers.compression import refuse_ratio
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import Note
from helix_pipelines.parsing.objects.object_rows import ObjectRows
from helix_pipelines.parsing.objects.strict_json import texts
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow
from helix_pipelines.parsing.tables.arrow_values import column_values
from helix_pipelines.parsing.text import storable, undecoded
from helix_pipelines.resilience.errors import FileRejectedError

BATCH_ROWS = 1_024
BATCH_BYTES = 4 * 1024**2
"""A batch has as many rows as fit by the file's average, so that long answers do not make large batches."""
READ_BYTES = 1 << 18
"""Of each column chunk, as much is read ahead; without a buffer pyarrow would hold whole chunks."""
FOOTER_END = struct.Struct("<L4s")

_UNSTORABLE = re.compile("[\0\udc80-\udcff]")


class ParquetReader:
    """Streams the rows; a row number is the position among the rows that are not blank.

    `ObjectRows` says how values become texts: a list of answers is joined, other columns are kept as metadata with their
    types where JSON has them (`arrow_values`). Nulls are missing texts.

    Raises FileRejectedError: DAMAGED_PARQUET, ENCRYPTED_FILE, TOO_MANY_ROWS, TOO_MANY_COLUMNS, ROW_GROUP_TOO_LARGE,
    EXPANDED_TOO_LARGE, EXPANSION_RATIO, COLUMNS_NOT_FOUND, MAPPING_COLUMN_MISSING, UNSUPPORTED_LAYOUT.
    """

    version = "parquet-1"

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self._limits = request.limits
        self.notes: list[Note] = []
        with request.source() as binary:
            size = _check_footer(binary, request.limits)
            with _open(binary, request.limits) as file:
                _check_metadata(file.metadata, size, request.limits)
                schema = file.schema_arrow
                self._batch_rows = _batch_rows(file.metadata)
        self._names = unique_names(schema.names)
        self._has_nested = any(pa.types.is_nested(kind) for kind in schema.types)
        sample: dict[str, Any] = {
            name: {} if pa.types.is_struct(kind) else None for name, kind in zip(self._names, schema.types, strict=True)
        }
        self._objects = ObjectRows([sample], request.mapping, request.limits)
        self.mapping = self._objects.mapping

    def chunks(
        self, max_rows: int = CHUNK_ROWS, max_bytes: int = CHUNK_BYTES, skip: int = 0
    ) -> Iterator[list[ParsedRow]]:
        """The rows after the first `skip` records, in file order."""
        return chunked(self._row_windows(skip), max_rows, max_bytes)

    def _row_windows(self, skip: int) -> Iterator[tuple[list[ParsedRow], int]]:
        number = 0
        for batch in self._batches():
            records, size, is_clean = self._records(batch)
            rows: list[ParsedRow] = []
            for record in records:
                if not any(_is_filled(value) for value in record.values()):
                    continue
                number += 1
                if number > skip:
                    refused = None if is_clean else _refused(number, record)
                    rows.append(refused or self._objects.row(number, record, size))
            yield rows, size

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self._request.source() as binary, _open(binary, self._limits) as file:
            batches = file.iter_batches(batch_size=self._batch_rows, use_threads=False)
            while True:
                with _arrow_told():
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    def _records(self, batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], int, bool]:
        """The rows of a batch as objects without nulls, the size of their text, and whether all of it can be stored."""
        roles = set(self.mapping.values())
        with _arrow_told():
            columns = [
                column_values(column, as_texts=name in roles)
                for name, column in zip(self._names, batch.columns, strict=True)
            ]
        records = [
            {name: value for name, value in zip(self._names, values, strict=True) if value is not None}
            for values in zip(*columns, strict=True)
        ]
        joined = "".join(value for column in columns for value in column if type(value) is str)
        is_clean = not self._has_nested and _UNSTORABLE.search(joined) is None
        return records, max(len(joined), batch.nbytes if self._has_nested else 0), is_clean


def _check_footer(binary: BinaryIO, limits: ParseLimits) -> int:
    """The size of the file, whose footer is read as a whole and therefore measured first."""
    size = binary.seek(0, io.SEEK_END)
    binary.seek(max(0, size - FOOTER_END.size))
    end = binary.read(FOOTER_END.size)
    footer = FOOTER_END.unpack(end)[0] if len(end) == FOOTER_END.size else size
    if footer + FOOTER_END.size > size:
        raise _damaged("its footer is missing")
    if footer > limits.document_bytes:
        raise _damaged(f"its footer claims {footer:,} bytes")
    binary.seek(0)
    return size


def _check_metadata(metadata: pq.FileMetaData, size: int, limits: ParseLimits) -> None:
    """What the footer announces, against the limits."""
    if metadata.num_rows > limits.rows:
        message = f"The file has {metadata.num_rows:,} rows, {limits.rows:,} are allowed (HELIX_MAX_ROWS). Split it."
        raise FileRejectedError("TOO_MANY_ROWS", message)
    if metadata.num_columns > limits.columns:
        message = f"The file has {metadata.num_columns:,} columns, {limits.columns:,} are allowed (HELIX_MAX_COLUMNS)."
        raise FileRejectedError("TOO_MANY_COLUMNS", message)
    groups = [metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)]
    if sum(groups) > limits.expanded_bytes:
        message = f"Unpacked, the file is larger than {limits.expanded_bytes:,} bytes. Split it, or raise"
        raise FileRejectedError("EXPANDED_TOO_LARGE", f"{message} HELIX_MAX_EXPANDED_BYTES.")
    refuse_ratio(sum(groups), size, limits)
    most = limits.reader_memory // 2
    if max(groups, default=0) > most:
        raise FileRejectedError(
            "ROW_GROUP_TOO_LARGE",
            f"A row group of the Parquet file has {max(groups):,} bytes, {most:,} are allowed. "
            "Write it with smaller row groups (row_group_size).",
        )


def _batch_rows(metadata: pq.FileMetaData) -> int:
    total = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    average = max(1, int(total // max(1, metadata.num_rows)))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // average))


def _is_filled(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in ([], {})


def _refused(number: int, record: dict[str, Any]) -> ParsedRow | None:
    """The quarantine entry of a record with texts that no database holds."""
    for name, value in record.items():
        for text in texts([value]):
            if found := undecoded(text):
                reason = f"{name[:40]!r} has {len(found)} bytes that are no character, first {found[0]}"
                return ParsedRow(number, code=RowCode.BAD_ENCODING, reason=reason, raw=_storable(record))
            if "\0" in text:
                reason = f"{name[:40]!r} contains a NUL character"
                return ParsedRow(number, code=RowCode.NUL_BYTE, reason=reason, raw=_storable(record))
    return None


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return storable(value) if isinstance(value, str) else value


@contextmanager
def _open(binary: BinaryIO, limits: ParseLimits) -> Iterator[pq.ParquetFile]:
    with _arrow_told():
        file = pq.ParquetFile(
            binary, buffer_size=READ_BYTES, pre_buffer=False, schema_depth_limit=limits.nesting, memory_map=False
        )
    with file:
        yield file


@contextmanager
def _arrow_told() -> Iterator[None]:
    """Whatever the library throws is the file's fault: pyarrow raises OSError, ValueError and others for damaged files."""
    try:
        yield
    except (FileRejectedError, MemoryError):
        raise
    except Exception as error:
        if "crypt" in str(error):
            message = "The Parquet file is encrypted. Write it without encryption and hand it over again."
            raise FileRejectedError("ENCRYPTED_FILE", message) from error
        raise _damaged(str(error)[:200]) from error


def _damaged(why: str) -> FileRejectedError:
    return FileRejectedError("DAMAGED_PARQUET", f"The Parquet file is damaged or was cut off ({why}). Write it again.")
