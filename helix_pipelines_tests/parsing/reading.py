"""Reading bytes the way the product does: sniff, open the reader, take all chunks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

from helix_pipelines.ingestion.sniff import Sniffed, sniff
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import Reader, make_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.rows import ParsedRow


@dataclass(frozen=True)
class Read:
    sniffed: Sniffed
    reader: Reader
    rows: list[ParsedRow]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Question and answer of the accepted rows."""
        return [(row.question, row.answer) for row in self.rows if row.code is None]

    @property
    def refused(self) -> list[tuple[int, str | None]]:
        """Row number and code of the others."""
        return [(row.row_number, row.code) for row in self.rows if row.code is not None]


def read(
    content: bytes | str,
    mapping: Mapping[str, str] | None = None,
    limits: ParseLimits | None = None,
    skip: int = 0,
    sheets: tuple[str, ...] = (),
) -> Read:
    """Everything happens in this process, also what the product does in one of its own."""
    data = content.encode() if isinstance(content, str) else content
    limits = limits or ParseLimits()
    sniffed = sniff(lambda: io.BytesIO(data), "upload", limits)
    reader = make_reader(ReadRequest(lambda: io.BytesIO(data), sniffed, limits, mapping or {}, sheets))
    return Read(sniffed, reader, [row for chunk in reader.chunks(skip=skip) for row in chunk])
