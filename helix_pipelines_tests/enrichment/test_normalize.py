"""The match key of questions: the quick way for ASCII gives what the general one does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.enrichment.normalize import question_key

FULL_WIDTH = 0xFEE0
"""What is between an ASCII character and its full-width form, which the match key folds into it."""


@given(st.text(st.characters(min_codepoint=0, max_codepoint=127)))
def test_an_ascii_question_has_the_key_of_its_full_width_form(question: str) -> None:
    wide = "".join(chr(ord(char) + FULL_WIDTH) if "!" <= char <= "~" else char for char in question)
    if any(char.isalnum() or char == "_" for char in question):
        assert question_key(question) == question_key(wide)


@pytest.mark.parametrize(
    "other", ["how do i reset my PASSWORD", "How do I -- reset my password?!", " How\tdo I\nreset my password"]
)
def test_case_punctuation_and_space_do_not_matter(other: str) -> None:
    assert question_key("How do I reset my password?") == question_key(other)


def test_joined_and_separate_words_are_other_questions() -> None:
    assert len({question_key(question) for question in ("foo_bar", "foo bar", "foobar")}) == 3


def test_questions_of_signs_alone_keep_their_signs() -> None:
    assert question_key("?") != question_key("!")
    assert question_key("? !") == question_key("?  !")
