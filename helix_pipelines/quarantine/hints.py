"""One line for the person who repairs a row, for every code that a row is refused with."""

from __future__ import annotations

from helix_pipelines.parsing.codes import RowCode

EMBEDDING_HINTS = {
    "EMBEDDING_TEXT_TOO_LONG": "Shorten the answer or split it into several rows; the model takes no longer text.",
    "EMBEDDING_TEXT_REFUSED": "Reword the row: look for control characters, secrets or content that the service does not take.",
    "PAYLOAD_TOO_LARGE": "Shorten the answer or split it into several rows; the service takes no larger request.",
}
OTHER = "Correct what the reason says, or change the text; a row that stays as it is would be refused again."


def hint(code: str) -> str:
    """How to repair a row that was refused with `code`, by reading or by the embedding service."""
    if code in RowCode.__members__:
        return RowCode(code).hint
    return EMBEDDING_HINTS.get(code, OTHER)
