"""Whether a text reads as a question: where keys are questions, nothing else tells a map of answers from a settings file."""

from __future__ import annotations

import re

_MARK = re.compile("[?\uff1f\u061f\u037e\u055e\u2047-\u2049]\\W*$|^\\W*\u00bf")
"""Question marks of European, CJK, Arabic, Greek and Armenian writing near the end, or the Spanish one at the start."""

_FIRST_WORD = re.compile(
    r"(?:how|what|when|where|which|who|whom|whose|why|can|could|do|does|did|is|are|may|should|will"
    r"|wie|was|wann|wo|welche[rsmn]?|wer|warum|wieso|kann|darf"
    r"|comment|quand|où|quel(?:le)?s?|qui|pourquoi|combien|puis-je|est-ce"
    r"|cómo|qué|cuándo|dónde|cuál(?:es)?|quién|por qué|puedo"
    r"|come|cosa|quando|dove|quale|chi|perché|posso"
    r"|como|onde|qual|quem|por que"
    r"|hoe|wat|wanneer|waar|welke|waarom"
    r"|как|что|когда|где|какой|какая|кто|почему|можно)\s+\S+\s+\S",
    re.IGNORECASE,
)
"""A word that asks, and at least two more: `Is it free` may be a question, `what` and `do nothing` are names."""

_CJK_QUESTION = re.compile("(?:吗|呢|嗎|か|까|나요)[。.]?\\s*$")


_JOINED = re.compile("(.*[?\uff1f\u061f])\\s+-\\s+(['\"]?)(\\S.*)\\2", re.DOTALL)
"""A YAML list whose first dash was forgotten becomes one text, `Who? - 'He'`: the lines are folded and the other dash is kept."""


def joined_turns(text: str) -> tuple[str, str] | None:
    """The question and the answer of a text that is `question? - answer`, None for any other."""
    found = _JOINED.fullmatch(text.strip())
    return (found[1], found[3]) if found else None


def reads_as_question(text: str) -> bool:
    """Judge by question marks, the word that asks, and final particles; in doubt it is none."""
    return bool(_MARK.search(text) or _FIRST_WORD.match(text.lstrip()) or _CJK_QUESTION.search(text))
