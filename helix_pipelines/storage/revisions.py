"""What the text of a revision says: whether it destroys data and owns up to it, and whether there is a way back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

VERSIONS = Path(__file__).parent / "migrations" / "versions"
DECLARATION = "DESTRUCTIVE"
"""Name of the constant by which a revision declares, with the reason, that its upgrade destroys data."""

COMMENTS_AND_TEXTS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
FUNCTION_BODIES = re.compile(r"(\bCREATE\s+(?:OR\s+REPLACE\s+)?FUNCTION\b[^;$]*)\$\$.*?\$\$", re.DOTALL | re.IGNORECASE)
"""What a function does, it does when it is called and not in the upgrade."""
DESTRUCTIVE_SQL = {
    "DROP TABLE": re.compile(r"\bDROP\s+TABLE\b", re.IGNORECASE),
    "DROP SCHEMA": re.compile(r"\bDROP\s+SCHEMA\b", re.IGNORECASE),
    "DROP COLUMN": re.compile(
        r"\bALTER\s+TABLE\b[^;]*\bDROP\s+(?!(?:CONSTRAINT|NOT|DEFAULT|EXPRESSION|IDENTITY)\b)\w+", re.IGNORECASE
    ),
    "type change": re.compile(r"\bALTER\s+(?:COLUMN\s+)?[\w\"]+\s+(?:SET\s+DATA\s+)?TYPE\b", re.IGNORECASE),
    # At the start of a statement only: elsewhere these are the events of a trigger or the rules of a foreign key.
    "TRUNCATE": re.compile(r"(?:^|;|\bBEGIN\b)\s*TRUNCATE\b", re.IGNORECASE),
    "DELETE": re.compile(r"(?:^|;|\))\s*DELETE\s+FROM\b", re.IGNORECASE),
}
DESTRUCTIVE_CALLS = {"drop_table": "DROP TABLE", "drop_column": "DROP COLUMN"}


@dataclass(frozen=True)
class Revision:
    """One file of `migrations/versions` with the SQL files of the same name."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name without its ending: the number and what it is about."""
        return self.path.stem

    @cached_property
    def _module(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    def constant(self, name: str) -> object:
        """The value of a constant of the module, None where there is none."""
        for node in self._module.body:
            if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
                return ast.literal_eval(node.value)
        return None

    def destructive_steps(self) -> list[str]:
        """What the upgrade does that destroys data, in words; functions that only the downgrade uses are left out by name."""
        upgrade = [node for node in self._module.body if not _is_function(node, "downgrade")]
        texts = [
            *_texts(upgrade),
            *(path.read_text(encoding="utf-8") for path in sorted(self.path.parent.glob(f"{self.name}*.sql"))),
        ]
        found = {name for text in texts for name in _destructive_sql(text)} | set(_destructive_calls(upgrade))
        return sorted(found)

    def goes_back(self) -> bool:
        """Whether there is a downgrade that does something other than refuse."""
        steps = [step for node in self._module.body if _is_function(node, "downgrade") for step in _statements(node)]
        return any(not isinstance(step, ast.Pass | ast.Raise) and not _is_text(step) for step in steps)


def revisions(folder: Path = VERSIONS) -> list[Revision]:
    """All revisions, oldest first: their files are numbered."""
    return [Revision(path) for path in sorted(folder.glob("[0-9]*.py"))]


def _is_function(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _statements(function: ast.stmt) -> Iterator[ast.stmt]:
    yield from (node for node in ast.iter_child_nodes(function) if isinstance(node, ast.stmt))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _nodes(of: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in of:
        yield from ast.walk(node)


def _texts(of: list[ast.stmt]) -> Iterator[str]:
    documentation = {id(node.value) for node in _nodes(of) if isinstance(node, ast.Expr)}
    for node in _nodes(of):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def _destructive_calls(of: list[ast.stmt]) -> Iterator[str]:
    for node in _nodes(of):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in DESTRUCTIVE_CALLS:
            yield DESTRUCTIVE_CALLS[node.func.attr]
        elif node.func.attr == "alter_column" and any(given.arg == "type_" for given in node.keywords):
            yield "type change"


def _destructive_sql(text: str) -> Iterator[str]:
    bare = FUNCTION_BODIES.sub(r"\1''", COMMENTS_AND_TEXTS.sub("''", text))
    yield from (name for name, pattern in DESTRUCTIVE_SQL.items() if pattern.search(bare))
