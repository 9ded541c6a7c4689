"""`helix quarantine replay`: the corrected rows of an export are imported, and only those."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psycopg
import typer

from helix_pipelines.cli.connection import act_as_person, connected
from helix_pipelines.cli.output import ExitCode, JsonOption, one_line, paragraphs, say, write_json
from helix_pipelines.cli.summary import batch_text
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from helix_pipelines.quarantine.correction_files import CorrectionsFile
    from helix_pipelines.quarantine.replay import ReplayPlan

SHOWN = 20
ACCEPTED = ("inserted", "updated", "unchanged", "duplicate")
COMPLETED = frozenset({"completed", "completed_with_quarantine"})


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The export (CSV or XLSX) with its rows corrected.")],
    as_json: JsonOption = False,
) -> int:
    """Bring in the corrected rows of an export, under the numbers that they have in their files.

    Rows that nobody changed stay in quarantine, and so do rows that would be refused again: they are named with the reason.
    A file with a row that is not in quarantine changes nothing at all.

    Try:

    - `helix quarantine export -o faq.xlsx --import 42`
    - `helix quarantine replay faq.xlsx`
    """
    from helix_pipelines.parsing.limits import ParseLimits
    from helix_pipelines.quarantine.replay import plan_replay

    if not file.is_file():
        raise UsageError("PATH_MISSING", f"{file} does not exist, or is not a file.")
    settings = load_settings()
    with connected(settings) as connection:
        limits = ParseLimits.from_settings(settings)
        plan = plan_replay(connection, file.absolute(), limits, settings.home / "replays")
        batches = [_bring_in(settings, files) for files in plan.rounds()]
    document = _document(plan, batches)
    if as_json:
        write_json(document)
    else:
        say(_text(document))
    return _exit_code(batches)


def _bring_in(settings: Settings, files: Sequence[CorrectionsFile]) -> dict[str, Any]:
    """Import the corrections as one batch; the audit log says who asked for which rows."""
    from helix_pipelines.cli.imports import imported
    from helix_pipelines.storage.replays import record_replay

    def recorded(connection: psycopg.Connection, batch: str) -> None:
        act_as_person(connection)
        for file in files:
            record_replay(connection, batch, file.import_id, file.rows)

    return imported(settings, [file.request for file in files], recorded)


def _document(plan: ReplayPlan, batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    imports = [line for batch in batches for line in batch["imports"]]
    completed = [line for line in imports if line["status"] in COMPLETED]
    return {
        "corrected": plan.corrected,
        "replayed": sum(line[name] for line in completed for name in ACCEPTED),
        "unchanged": plan.unchanged,
        "still_faulty": [
            {
                "import": row.place.root,
                "sheet": row.place.sheet or None,
                "row": row.place.row,
                "code": row.code,
                "message": row.reason,
            }
            for row in plan.faulty
        ],
        "batches": list(batches),
    }


def _text(document: dict[str, Any]) -> str:
    parts = [batch_text(batch) for batch in document["batches"]]
    parts.append(
        f"{document['replayed']:,} of {document['corrected']:,} corrected rows are in; {document['unchanged']:,} rows were not"
        f" changed and stay in quarantine, {len(document['still_faulty']):,} are still faulty."
    )
    parts.extend(
        f"Import {row['import']}{', ' + one_line(row['sheet']) if row['sheet'] else ''}, row {row['row']}:"
        f" {row['code']}: {row['message']}"
        for row in document["still_faulty"][:SHOWN]
    )
    if len(document["still_faulty"]) > SHOWN:
        parts.append("... and more: --json has all of them.")
    return paragraphs(parts)


def _exit_code(batches: Sequence[dict[str, Any]]) -> ExitCode:
    from helix_pipelines.cli.imports import exit_code

    codes = {exit_code(batch, strict=False) for batch in batches}
    rejected = any(line["status"] == "rejected" for batch in batches for line in batch["imports"])
    if rejected or ExitCode.FAILED in codes:
        return ExitCode.FAILED
    return ExitCode.NOT_FINISHED if ExitCode.NOT_FINISHED in codes else ExitCode.DONE
