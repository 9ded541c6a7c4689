"""What may be said about files that are handed over: the options that `helix import` and `helix queue add` have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from helix_pipelines.cli.output import note
from helix_pipelines.ingestion.batching import DEFAULT_COLLECTION
from helix_pipelines.ingestion.requested_files import plan_files
from helix_pipelines.parsing.columns import ROLES
from helix_pipelines.parsing.text import codec_name
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import FileRequest, Mode

PathsArgument = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders to walk.")]
CollectionOption = Annotated[
    str | None,
    typer.Option("--collection", "-c", help=f"The knowledge base that the pairs go to [{DEFAULT_COLLECTION}]."),
]
SourceOption = Annotated[
    str | None, typer.Option(help="The source that the file continues; by default its name or path in the folder.")
]
ModeOption = Annotated[
    str | None,
    typer.Option(metavar="append|sync", help="sync takes out the rows that the source no longer has [append]."),
]
MappingOption = Annotated[
    list[str] | None, typer.Option("--map", metavar="ROLE=COLUMN,...", help="Which column is which.")
]
SheetsOption = Annotated[
    list[str] | None,
    typer.Option("--sheet", metavar="NAME", help="A sheet of a workbook to read; by default all that are visible."),
]
EncodingOption = Annotated[str | None, typer.Option(help="The files' encoding, where detection errs.")]
NOTES_SHOWN = 20
NEXT_ROLE = re.compile(rf",(?=\s*(?:{'|'.join(ROLES)})\s*=)")
"""The comma between two parts of `--map`: one that a role follows, as column names may hold commas themselves."""


def requested_files(
    paths: Sequence[Path],
    *,
    collection: str | None,
    source: str | None,
    mode: str | None,
    mapping: Sequence[str] | None,
    sheets: Sequence[str] | None,
    encoding: str | None,
) -> list[FileRequest]:
    """The files that the options mean; what of a folder is left out is told, with the reason.

    Raises UsageError: OPTION_BLANK, MODE_UNKNOWN, ENCODING_UNKNOWN, and what `parse_mapping` and `plan_files` raise.
    """
    given = {"collection": _not_blank("--collection", collection), "source": _not_blank("--source", source)}
    read = {"mapping": parse_mapping(mapping or []), "sheets": tuple(sheets or ()), "encoding": _encoding(encoding)}
    plan = plan_files(paths, {**given, **read, "mode": _mode(mode)})
    for reason in plan.left_out[:NOTES_SHOWN]:
        note(f"Left out: {reason.message}")
    if len(plan.left_out) > NOTES_SHOWN:
        note(f"... and {len(plan.left_out) - NOTES_SHOWN:,} more were left out.")
    return plan.files


def parse_mapping(options: Sequence[str]) -> dict[str, str]:
    """`question=COL,answer=COL` to role -> column. Raises UsageError (MAPPING_INVALID) that says what is accepted."""
    mapping: dict[str, str] = {}
    for part in (part for option in options for part in NEXT_ROLE.split(option)):
        role, separator, column = (piece.strip() for piece in part.partition("="))
        if not separator or not column or role not in ROLES:
            raise UsageError(
                "MAPPING_INVALID", f"--map cannot be read at {part!r}: write ROLE=COLUMN; roles are {', '.join(ROLES)}."
            )
        if role in mapping:
            raise UsageError("MAPPING_INVALID", f"--map names two columns for {role}; leave one of them.")
        mapping[role] = column
    return mapping


def _not_blank(option: str, value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise UsageError("OPTION_BLANK", f"{option} needs a name.")
    return value and value.strip()


def _mode(value: str | None) -> Mode | None:
    match value:
        case None | "append" | "sync":
            return value
        case _:
            raise UsageError("MODE_UNKNOWN", f"--mode is append or sync, not {value!r}.")


def _encoding(value: str | None) -> str | None:
    """Refuse an encoding that Python does not know, and codecs that do not make text (base64, zip)."""
    if value is None:
        return None
    name = codec_name(value)
    if name is None:
        raise UsageError("ENCODING_UNKNOWN", f"--encoding {value!r} is not known; write utf-8, cp1252, shift_jis...")
    return name
