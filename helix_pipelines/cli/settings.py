"""`helix settings`: every setting with its value, its default and what it is for; the README's table is its output."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import typer

from helix_pipelines.cli.output import ExitCode, JsonOption, say, write_json
from helix_pipelines.settings import PREFIX, Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("settings")(show_settings)


def show_settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the README's table: without values.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show every setting: its value now, its default, and what it is for. Secrets are shown as stars.

    Set one in the environment or in a file `.env` in the current folder.

    Try:

    - `helix settings`
    - `HELIX_HOME=/srv/helix helix settings --json`
    """
    rows = describe(None if markdown else load_settings())
    if as_json:
        write_json({row["name"]: {key: row[key] for key in ("value", "default", "meaning")} for row in rows})
    elif markdown:
        say(markdown_table(rows))
    else:
        for row in rows:
            say(str(row["name"]), bold=True, end="")
            say(f" = {row['value'] or '-'}\n    {row['meaning']} Default: {row['default']}.")
    return ExitCode.DONE


def describe(settings: Settings | None) -> list[dict[str, str | None]]:
    """One row a setting: its variable's `name`, its `value` (None where not set), `default` and `meaning` in words."""
    meanings = field_docstrings(Settings)
    return [
        {
            "name": PREFIX + field.name.upper(),
            "value": _shown(getattr(settings, field.name)) if settings else None,
            "default": _default(field),
            "meaning": meanings[field.name],
        }
        for field in msgspec.structs.fields(Settings)
    ]


def markdown_table(rows: list[dict[str, str | None]]) -> str:
    """The table as Markdown."""
    lines = [f"| `{row['name']}` | {row['default']} | {row['meaning']} |" for row in rows]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *lines])


def field_docstrings(struct: type) -> Mapping[str, str]:
    """Field -> the string literal below it in the class's source, its white space folded."""
    statements = [line for node in ast.parse(inspect.getsource(struct)).body for line in getattr(node, "body", [])]
    found: dict[str, str] = {}
    for field, text in pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _default(field: Any) -> str:
    if field.name == "home":
        return "`var/` in a checkout, else `~/.helix`"
    if field.default is None:
        return "not set"
    is_count = isinstance(field.default, int) and not isinstance(field.default, bool)
    return f"{field.default:,}" if is_count else _word(field.default)


def _shown(value: Any) -> str | None:
    return None if value is None else _word(value)


def _word(value: Any) -> str:
    """A value as it is written in the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)
