"""From a corrected export to what is imported: rows that somebody repaired, told from those that nobody touched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.quarantine.correction_files import CorrectionFiles, CorrectionsFile
from helix_pipelines.quarantine.repairs import NOT_CORRECTED, Correction, Faulty, judge
from helix_pipelines.quarantine.rows import QuarantinedRow
from helix_pipelines.quarantine.worksheets import WorksheetRow, read_worksheet
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines.storage.quarantine import Line, Place, find_quarantined

PROBLEMS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class FaultyRow:
    """A changed row that would be refused again: where it is, and why."""

    place: Place
    code: str
    reason: str


@dataclass(slots=True)
class ReplayPlan:
    """What a corrected table comes to: files to import, rows that nobody changed, and rows that are still faulty."""

    files: list[CorrectionsFile] = field(default_factory=list)
    unchanged: int = 0
    faulty: list[FaultyRow] = field(default_factory=list)

    @property
    def corrected(self) -> int:
        """Rows that are to be imported."""
        return sum(len(numbers) for file in self.files for numbers in file.rows.values())

    def rounds(self) -> list[list[CorrectionsFile]]:
        """The files as batches, the oldest import first; none has a source twice, as batches are known by their sources."""
        rounds: list[dict[tuple[str, str], CorrectionsFile]] = []
        for file in sorted(self.files, key=lambda file: file.import_id):
            source = (file.request.collection, file.request.source)
            free = next((batch for batch in rounds if source not in batch), None)
            if free is None:
                rounds.append(free := {})
            free[source] = file
        return [list(batch.values()) for batch in rounds]


def plan_replay(connection: psycopg.Connection, path: Path, limits: ParseLimits, folder: Path) -> ReplayPlan:
    """Read a corrected export and write its corrections to files in `folder`: all that it asks for, or nothing.

    Raises FileRejectedError (REPLAY_ROWS_UNKNOWN and those of `read_worksheet`), SetupError (REPLAYS_UNWRITABLE).
    """
    columns = _filled_columns(path, limits)
    plan = ReplayPlan()
    seen: set[Place] = set()
    problems: list[str] = []
    with CorrectionFiles(folder) as files:
        for chunk in read_worksheet(path, limits):
            found = find_quarantined(connection, [row.place for row in chunk if row.place is not None])
            for row in chunk:
                line = found.get(row.place) if row.place is not None else None
                problem = _problem(row, line, seen)
                if problem is not None or line is None:
                    problems.append(f"row {row.number}: {problem}")
                else:
                    _take(plan, files, QuarantinedRow.of(line), row, columns)
        if problems:
            raise _refusal(path, problems)
        plan.files = files.finished()
    return plan


def _filled_columns(path: Path, limits: ParseLimits) -> set[str]:
    rows = (row for chunk in read_worksheet(path, limits) for row in chunk)
    return {column for row in rows for column, cell in row.cells.items() if cell} - NOT_CORRECTED


def _problem(row: WorksheetRow, line: Line | None, seen: set[Place]) -> str | None:
    """Why a line of the table cannot be anybody's correction."""
    if row.place is None:
        return row.flaw[1] if row.flaw else "helix_import and helix_row do not say which row it is"
    if row.place in seen:
        return f"it is there twice (import {row.place.root}, row {row.place.row})"
    seen.add(row.place)
    if line is None:
        sheet = f", sheet {row.place.sheet!r}" if row.place.sheet else ""
        return f"row {row.place.row} of import {row.place.root}{sheet} is not in quarantine"
    if not line["state"].startswith("completed"):
        return f"import {line['import']} is not finished; `helix status {line['import']}` says how far it is"
    return None


def _take(
    plan: ReplayPlan, files: CorrectionFiles, row: QuarantinedRow, corrected: WorksheetRow, columns: Collection[str]
) -> None:
    verdict = judge(row, corrected, columns)
    if isinstance(verdict, Correction):
        files.add(row, verdict)
    elif isinstance(verdict, Faulty):
        plan.faulty.append(FaultyRow(row.place, verdict.code, verdict.reason))
    else:
        plan.unchanged += 1


def _refusal(path: Path, problems: list[str]) -> FileRejectedError:
    more = f"; and {len(problems) - PROBLEMS_SHOWN:,} more" if len(problems) > PROBLEMS_SHOWN else ""
    return FileRejectedError(
        "REPLAY_ROWS_UNKNOWN",
        f"{path.name} was not replayed, nothing was changed: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}."
        " Take these rows out, or export the quarantine again.",
    )
