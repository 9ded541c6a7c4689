"""From the value of a JSON or YAML field to the text of a role: what exports put where one text is meant."""

from __future__ import annotations

import json
from typing import Any

from helix_pipelines.parsing.codes import RefusedRowError, RowCode

LIST_SEPARATOR = "; "
TEXT_KEYS = ("text", "answer", "value", "content", "body", "question")
"""Where objects in the place of a text keep it, in order of preference: SQuAD's `answers[].text` and its relatives."""


def role_text(role: str, key: str, field: Any) -> str | None:
    """The text of the field `key` that plays `role`; of question and answer it is never None, at most blank.

    Numbers and truth values become their JSON spelling (`42`, `true`), null is a missing text. Of a question with several
    phrasings the first counts; several answers become one text, joined by "; ". Of objects in the place of texts, such as
    annotated answers, the first that has a text counts.

    Raises RefusedRowError (NOT_A_TEXT).
    """
    if isinstance(field, str):
        return field
    if isinstance(field, dict):
        return _text_of_object(key, field)
    if isinstance(field, list):
        return _text_of_list(role, key, field)
    if field is None:
        return "" if role in {"question", "answer"} else None
    return json.dumps(field)


def kind_of(value: Any) -> str:
    """What a value is, in words: "an object", "a list", "a number"."""
    for kind, name in ((dict, "an object"), (list, "a list"), (str, "a text"), (bool, "a truth value")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"


def is_scalar(field: Any) -> bool:
    """Whether a field is neither a list nor an object."""
    return not isinstance(field, list | dict)


def _text_of_list(role: str, key: str, field: list[Any]) -> str:
    if all(map(is_scalar, field)):
        found = [item if isinstance(item, str) else json.dumps(item) for item in field if item is not None]
        if role != "question":
            return LIST_SEPARATOR.join(found)
        return next((text for text in found if text.strip()), "")
    if not all(isinstance(item, dict) for item in field):
        raise RefusedRowError(RowCode.NOT_A_TEXT, f"{key[:40]!r} is a list of lists or of unlike values")
    return next((text for text in (_text_of_object(key, item) for item in field) if text.strip()), "")


def _text_of_object(key: str, field: dict[str, Any]) -> str:
    """The text that an object stands for, or the first of them."""
    text = next((field[name] for name in TEXT_KEYS if name in field), None)
    if isinstance(text, list) and all(isinstance(item, str) for item in text):
        return next((item for item in text if item.strip()), "")
    if not isinstance(text, str):
        raise RefusedRowError(RowCode.NOT_A_TEXT, f"{key[:40]!r} is an object without a text, not a text")
    return text
