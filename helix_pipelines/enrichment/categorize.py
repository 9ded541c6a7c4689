"""Categories as files have them, mapped to those of the knowledge base."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def categorizer(category_map: Mapping[str, str], default: str | None) -> Callable[[str | None], str | None]:
    """A function from a row's category to the one to store.

    Names in the map match without regard to case and surrounding space; a category that the map does not name stays as it is; a
    row without one gets `default`.
    """
    folded = {name.strip().casefold(): target for name, target in category_map.items()}

    def categorize(category: str | None) -> str | None:
        stripped = (category or "").strip()
        return folded.get(stripped.casefold(), stripped) if stripped else default

    return categorize
