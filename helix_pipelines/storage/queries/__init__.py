"""SQL that is longer than a line, one named file a statement."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load(name: str) -> str:
    """The statement in `<name>.sql` of this folder."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
