"""What a command says and how it ends: JSON or text on stdout, notes and errors on stderr, one set of exit codes."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


class ExitCode(IntEnum):
    """How a command ends; scripts rely on it."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    INPUT_REFUSED = 3
    """Done, but some input was quarantined or rejected, and `--strict` was given."""
    NOT_FINISHED = 4
    """Deferred or paused: what is left is kept and can be continued."""
    INTERRUPTED = 130
    """Ctrl-C, as shells report it."""


def write_json(document: Any) -> None:
    """Print one JSON document; indented where a person looks at it. Decimals become numbers, times ISO 8601."""
    encoded = msgspec.json.Encoder(decimal_format="number").encode(document)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def note(message: str) -> None:
    """Tell a person something on the way, on stderr, so that stdout stays the result."""
    typer.secho(message, err=True, dim=True)


def complain(code: str, message: str, *, as_json: bool) -> None:
    """Print an error: `CODE: message` in red on stderr, and as a JSON document on stdout where that was asked for."""
    typer.secho(f"{code}: {message}", err=True, fg="red")
    if as_json:
        write_json({"error": {"code": code, "message": message}})


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by display width; numbers to the right. Empty without rows."""
    if not rows:
        return ""
    cells = [list(headings), *(["-" if cell is None else _cell(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(headings))]
    return "\n".join(
        "  ".join(
            _pad(cell, width, right=numeric) for cell, width, numeric in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
