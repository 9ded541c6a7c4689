from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.embedding.passages import (
    DEFAULT_RECIPE,
    PLAIN_RECIPE,
    RECIPES,
    WINDOW_TOKENS,
    passages,
    query_text,
    recipe_for,
    text_hash,
)

ANSWER = " ".join(f"Sentence number {number} says something of use." for number in range(300))


def test_a_short_pair_is_one_passage_under_its_role() -> None:
    assert passages("Who?", "Me.", "e5:question+answer") == ["passage: Who?\nMe."]
    assert passages("Who?", "Me.", "e5:question") == ["query: Who?"]
    assert passages("Who?", "Me.", PLAIN_RECIPE) == ["Who?\nMe."]


def test_a_query_gets_the_role_of_queries() -> None:
    assert query_text(" Who? ", "e5:question+answer") == "query: Who?"
    assert query_text("Who?", PLAIN_RECIPE) == "Who?"


def test_every_passage_of_a_long_pair_begins_with_the_question() -> None:
    texts = passages("What is it?", ANSWER, "e5:question+answer")
    assert len(texts) > 5
    assert all(text.startswith("passage: What is it?\nSentence number ") for text in texts)
    assert all(text.endswith("of use.") for text in texts)


def test_neighbouring_passages_overlap() -> None:
    first, second, *_ = passages("What is it?", ANSWER, "e5:question+answer")
    assert first.rpartition("Sentence")[2] in second


@pytest.mark.parametrize(
    "units",
    [
        [f"Sentence number {number}. " for number in range(900)],
        [f"слово{number} " for number in range(2000)],
        [f"w{number:05}x" for number in range(2000)],
        [chr(0x4E00 + number) for number in range(5000)],
    ],
    ids=["sentences", "words", "one long word", "no spaces"],
)
def test_no_part_of_an_answer_is_left_out_or_known_only_by_its_halves(units: list[str]) -> None:
    texts = passages("Q?", "".join(units), "plain:question+answer")
    assert len(texts) > 3
    assert all(any(unit.strip() in text for text in texts) for unit in units)


def test_a_question_longer_than_the_window_is_cut_and_not_lost() -> None:
    question = " ".join(f"word{number}" for number in range(2000))
    texts = passages(question, "The answer.", "plain:question+answer")
    assert all(text.startswith("word0 word1 ") for text in texts)
    assert all(any(f"word{number}" in text for text in texts) for number in range(2000))
    assert texts[-1].endswith("The answer.")


@given(st.text(max_size=3000), st.text(max_size=6000), st.sampled_from(sorted(RECIPES)))
def test_any_pair_has_passages_of_bounded_length(question: str, answer: str, recipe: str) -> None:
    texts = passages(question, answer, recipe)
    assert texts
    assert max(map(len, texts)) <= WINDOW_TOKENS / 0.4 + len("passage: ")


def test_models_of_the_e5_family_get_roles_and_others_do_not() -> None:
    assert recipe_for("multilingual-e5-small") == DEFAULT_RECIPE
    assert recipe_for("text-embedding-3-small") == PLAIN_RECIPE


def test_the_key_of_a_vector_depends_on_the_role() -> None:
    assert text_hash("query: a") != text_hash("passage: a")
    assert text_hash("query: a") == text_hash("query: a")
