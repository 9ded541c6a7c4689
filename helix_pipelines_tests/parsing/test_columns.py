from __future__ import annotations

import pytest

from helix_pipelines.parsing.columns import ROLES, columns_seen, folded, map_columns, unique_names
from helix_pipelines.parsing.synonyms import SYNONYMS
from helix_pipelines.resilience.errors import FileRejectedError, UsageError


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        ([" Question ", "ANSWER"], 0, 1),
        (["\ufeffquestion", "answer"], 0, 1),
        (["Ｑｕｅｓｔｉｏｎ", "Ａｎｓｗｅｒ"], 0, 1),
        (["question_text", "Best Answer"], 0, 1),
        (["A", "Q"], 1, 0),
        (["Frage", "Antwort"], 0, 1),
        (["pregunta", "respuesta"], 0, 1),
        (["Question posée", "Réponse"], 0, 1),
        (["domanda", "risposta"], 0, 1),
        (["Pytanie", "Odpowiedź"], 0, 1),
        (["vraag", "antwoord"], 0, 1),
        (["Вопрос", "Ответ"], 0, 1),
        (["سؤال", "جواب"], 0, 1),
        (["質問", "回答"], 0, 1),
        (["问题", "答案"], 0, 1),
        (["질문", "답변"], 0, 1),
        (["प्रश्न", "उत्तर"], 0, 1),
        (["คำถาม", "คำตอบ"], 0, 1),
        (["department", "title", "ask", "answer"], 2, 3),
        (["question", "answer_html", "answer"], 0, 2),
        (["question", "question", "answer", "answer"], 0, 2),
    ],
)
def test_header_names_of_many_languages_are_understood(names: list[str], question: int, answer: int) -> None:
    found = map_columns(names)
    assert (found["question"], found["answer"]) == (question, answer)


def test_no_synonym_stands_twice_in_the_order_of_its_role() -> None:
    for synonyms in SYNONYMS.values():
        assert len({folded(name) for name in synonyms}) == len(synonyms)


def test_no_name_stands_for_question_and_answer_at_once() -> None:
    assert not set(SYNONYMS["question"]) & set(SYNONYMS["answer"])


def test_a_mapping_wins_over_known_names_and_leaves_the_other_roles_to_them() -> None:
    names = ["question", "answer", "text", "URL"]
    assert map_columns(names, {"answer": " TEXT"}) == {"question": 0, "answer": 2, "url": 3}


def test_a_mapped_name_is_matched_to_the_letter_first() -> None:
    assert map_columns(["Name", "name", "answer"], {"question": "name"})["question"] == 1


def test_an_unknown_role_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="MAPPING_ROLE_UNKNOWN"):
        map_columns(["question", "answer"], {"frage": "question"})
    assert ROLES[:2] == ("question", "answer")


def test_the_error_for_unknown_columns_is_bounded_and_shows_how_to_name_them() -> None:
    names = [f"column {number} {'x' * 500}\x1b[31m" for number in range(20_000)]
    with pytest.raises(FileRejectedError) as rejection:
        map_columns(names)
    assert "--map question=COL,answer=COL" in rejection.value.message
    assert "19,980 more" in rejection.value.message
    assert len(rejection.value.message) < 1500
    assert rejection.value.message.isprintable()


def test_no_columns_are_seen_as_none() -> None:
    assert columns_seen([]) == "Columns seen: none."


def test_names_for_metadata_are_unique_and_never_blank() -> None:
    assert unique_names(["id", "", "id", "id (2)", " id "]) == ["id", "column 2", "id (2)", "id (2) (2)", "id (3)"]
