"""What a command says and how it ends: JSON or text on stdout, notes and errors on stderr, one set of exit codes.

Names of files and what services answer come from anywhere: characters that a terminal would act on are shown, not sent.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import typer

from helix_pipelines.resilience.errors import UsageError

ACTED_ON = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal acts on (colours, its title, what is deleted), what turns the order of a text round, and bytes that are no
text; a tab and a line's end are left as they are."""
BREAKS = re.compile(r"[\t\n\u2028\u2029]")
FIRST_BYTE = 0xDC00
"""Python's code point of byte 0 in a file name that is not UTF-8."""

LARGEST_ID = 2**63 - 1
"""Of a number in the database: there are none beyond, and it does not take them."""
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


def readable(text: str) -> str:
    r"""The text with what a terminal would act on written out, as `\x1b` or `\u202e`; lines stay lines."""
    return ACTED_ON.sub(_escaped, text)


def one_line(text: str) -> str:
    """The same for a name or another piece of a line: its tabs and line ends are written out, too."""
    return BREAKS.sub(_escaped, readable(text))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - FIRST_BYTE:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def say(text: str, *, colour: str | None = None, bold: bool = False, end: str = "\n") -> None:
    """Print a result for people on stdout."""
    typer.secho(readable(text) + end, fg=colour, bold=bold or None, nl=False)


def paragraphs(parts: Iterable[str]) -> str:
    """The parts that say something, with an empty line between any two, as people may read them."""
    return readable("\n\n".join(part for part in parts if part))


def write_json(document: Any) -> None:
    """Print one JSON document; indented where a person looks at it. Decimals become numbers, times ISO 8601."""
    encoded = msgspec.json.Encoder(decimal_format="number").encode(document)
    if sys.stdout.isatty():
        encoded = msgspec.json.format(encoded, indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def note(message: str) -> None:
    """Tell a person something on the way, on stderr, so that stdout stays the result."""
    typer.secho(readable(message), err=True, dim=True)


def complain(code: str, message: str, *, as_json: bool) -> None:
    """Print an error: `CODE: message` in red on stderr, and as a JSON document on stdout where that was asked for."""
    typer.secho(readable(f"{code}: {message}"), err=True, fg="red")
    if as_json:
        write_json({"error": {"code": code, "message": message}})


def confirm(question: str) -> None:
    """Ask the person at the terminal; whoever says no ends the command.

    Raises UsageError (CONFIRMATION_NEEDED) where nobody can be asked: a script has to say --yes.
    """
    if not sys.stdin.isatty():
        raise UsageError("CONFIRMATION_NEEDED", f"{question} Nobody is at a terminal to be asked: add --yes to do it.")
    typer.confirm(readable(question), abort=True, err=True)


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
    return f"{value:,}" if isinstance(value, int) else one_line(str(value))


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
