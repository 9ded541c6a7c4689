"""The files that corrections are imported from, one for each import that they correct, as `parsing.corrections` reads them."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from helix_pipelines.parsing.corrections import MARK, VERSION
from helix_pipelines.quarantine.repairs import Correction
from helix_pipelines.quarantine.rows import QuarantinedRow
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.storage.batches import FileRequest

OWNER_ONLY = 0o600
APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND
NAME_DIGITS = 12
"""Hex digits of a file's hash in its name."""


@dataclass(frozen=True, slots=True)
class CorrectionsFile:
    """The corrections of one import, ready to be imported; `rows` is sheet ("" without one) -> row numbers."""

    import_id: int
    request: FileRequest
    rows: dict[str, list[int]]


@dataclass(slots=True)
class _Unfinished:
    path: Path
    collection: str
    source: str
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def write(self, value: object) -> None:
        line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
        self.digest.update(line)
        with os.fdopen(os.open(self.path, APPENDING, OWNER_ONLY), "ab") as file:
            file.write(line)


class CorrectionFiles:
    """Writes corrections below `folder`, as they come. Files that were not finished are gone at the end of the block.

    Raises SetupError (REPLAYS_UNWRITABLE).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, _Unfinished] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"{self._folder} cannot be written ({error.strerror}): make room or give the right to, then replay again."
            raise SetupError("REPLAYS_UNWRITABLE", message) from error

    def add(self, row: QuarantinedRow, correction: Correction) -> None:
        """Append the corrected form of a row."""
        root, sheet, number = row.place
        file = self._files.get(root) or self._begin(root, row)
        record = {"row": number, "sheet": sheet or None, **correction.texts, "extra": correction.extra}
        file.write({name: value for name, value in record.items() if value})
        file.rows.setdefault(sheet, []).append(number)

    def finished(self) -> list[CorrectionsFile]:
        """Give all files their names: equal corrections of an import have the same, so that a second replay is known."""
        return [self._finish(root, file) for root, file in sorted(self._files.items())]

    def _begin(self, root: int, row: QuarantinedRow) -> _Unfinished:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f".import-{root}-{secrets.token_hex(4)}"
        self._files[root] = file = _Unfinished(path, row.line["collection"], row.line["source"])
        file.write({MARK: VERSION, "import": root})
        return file

    def _finish(self, root: int, file: _Unfinished) -> CorrectionsFile:
        path = self._folder / f"import-{root}-{file.digest.hexdigest()[:NAME_DIGITS]}.jsonl"
        file.path.replace(path)
        request = FileRequest(str(path.absolute()), file.collection, file.source, replay_of=root)
        return CorrectionsFile(root, request, file.rows)
