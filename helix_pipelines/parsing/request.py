"""What a reader is asked to do: which bytes, what they are, and how the user wants them read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from helix_pipelines.ingestion.sniff import Sniffed
from helix_pipelines.parsing.limits import ParseLimits


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One file to be read.

    `source` opens the file's bytes anew each time, from the start. `sniffed` is what `sniff` found them to be. `mapping` is
    role (`columns.ROLES`) -> column name as the user gave it; `sheets` are the parts of a workbook to be read by name, all
    visible ones where it is empty.
    """

    source: Callable[[], BinaryIO]
    sniffed: Sniffed
    limits: ParseLimits = field(default_factory=ParseLimits)
    mapping: Mapping[str, str] = field(default_factory=dict)
    sheets: tuple[str, ...] = ()
