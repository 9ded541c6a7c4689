"""What a question looks like, in the languages that the column names are known in."""

from __future__ import annotations

import re

_MARKS = "?\uff1f\u061f\u037e\u2047\u2048\u2049\u1367\ua60f"
"""Western, full width, Arabic, Greek, doubled, Ethiopic and Vai question marks."""
_MARKED = re.compile(rf"[{_MARKS}][^\w{_MARKS}]{{0,12}}$|[\u0370-\u03ff\u1f00-\u1fff]\s?;$")
"""The mark, and what may follow it: closing quotes, a full stop too many, an emoji. Greek is mostly typed with a semicolon."""
_SPOKEN = re.compile(r"(?:[かの][。.]?|[吗嗎呢][。.]?|까[.。]?|나요[.。]?|ไหม|หรือไม่)$")
"""Languages that say that a sentence is a question, and need no mark for it."""

_ENGLISH = "what why how when where who whom whose which is are can could does did should would"
_OTHERS = """
was warum wieso weshalb wie wann wo wer wen wem wessen welche welcher welches welchen wohin woher womit wozu kann darf
qué cuál cuáles cómo cuándo dónde quién quiénes cuánto cuántos cuánta cuántas
comment pourquoi quand où qui quel quelle quels quelles combien
cosa perché dove quale quali quanto quanti
quem qual quais onde quando como
wat waarom hoe wanneer waar welke
czy jak dlaczego kiedy gdzie kto który jaki jaka jakie
vad varför hur när vem vilken vilka hvad hvorfor hvordan hvornår hvem hvilken hvilke hva
proč jak kdy kde kdo který mikor hogyan miért hol
nasıl neden niçin nerede hangi
что как почему когда где кто какой какая какие сколько зачем куда чем
що як чому коли де хто який скільки
τι πώς πως γιατί πότε πού ποιος ποια ποιο
ما ماذا لماذا كيف متى أين هل كم
क्या कैसे क्यों कब कहाँ कौन
apa bagaimana mengapa kapan siapa
"""
_WORDS = frozenset((_ENGLISH + _OTHERS).split())
_CHINESE = re.compile("什么|什麼|为何|為何|如何|怎么|怎麼|怎样|怎樣|哪|谁|誰|是否|多少")
_FIRST_WORD = re.compile(r"[\W\d_]{0,20}([^\W\d_]{1,20})")
_LABEL = re.compile(
    r"(?:q(?:uestion)?|frage|pregunta|domanda|pergunta|вопрос|питання|問|问|質問|问题|問題|질문|문)"
    r"\s{0,2}\d{0,4}\s{0,2}[:.)\uff1a]\s{0,4}",
    re.IGNORECASE,
)
_ANSWER_LABEL = re.compile(
    r"(?:a(?:nswer|ns)?|antwort|respuesta|réponse|reponse|risposta|resposta|r|ответ|відповідь|答|回答|答案|답변|답)"
    r"\s{0,2}\d{0,4}\s{0,2}[:\uff1a]\s{0,4}",
    re.IGNORECASE,
)


def has_question_mark(text: str) -> bool:
    """Whether a text ends with a question mark of any script, or as spoken questions do in Japanese, Chinese, Korean, Thai."""
    end = text.rstrip()[-20:]
    return bool(_MARKED.search(end) or _SPOKEN.search(end))


def is_question(text: str) -> bool:
    """Whether a text ends as a question, or begins with a question word."""
    if has_question_mark(text):
        return True
    start = text.lstrip()[:60]
    if start.startswith("\u00bf") or _CHINESE.search(start):
        return True
    word = _FIRST_WORD.match(start)
    return word is not None and word[1].casefold() in _WORDS


def question_label(text: str) -> int:
    """The length of a label such as `Q: ` or `Frage 3: ` that a text begins with, 0 without one."""
    label = _LABEL.match(text)
    return label.end() if label else 0


def answer_label(text: str) -> int:
    """The length of a label such as `A: ` or `Antwort: ` that a text begins with, 0 without one."""
    label = _ANSWER_LABEL.match(text)
    return label.end() if label else 0
