"""Language of a text as an ISO 639-1 code, by CLD2 (11 us a text on mixed questions; fastText's compressed model takes 54)."""

from __future__ import annotations

import pycld2

LANGUAGE_VERSION = 1
UNKNOWN = "un"
SAMPLE = 300
"""Characters looked at: enough to tell, and a bound for answers of megabytes."""


def detect_language(text: str) -> str | None:
    """The language of `text`, None where it cannot be told (too short, codes only, characters that CLD2 refuses)."""
    try:
        _, _, details = pycld2.detect(text[:SAMPLE], bestEffort=True)
    except (pycld2.error, UnicodeEncodeError):
        return None
    code = str(details[0][1])
    return None if code == UNKNOWN else code.partition("-")[0]
