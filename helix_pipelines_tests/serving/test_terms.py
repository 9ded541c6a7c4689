from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.serving.terms import MAX_TERM_CHARS, MAX_TOTAL_CHARS, is_single_unspaced, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Reset my password, please", ["reset", "my", "password", "please"]),
        ("ERR-4102", ["err-4102", "err", "4102"]),
        ("foo_bar", ["foo_bar", "foo", "bar"]),
        ("v1.2.3", ["v1.2.3", "v1", "2", "3", "1.2.3"]),
        ("mail a.b@c.de.", ["mail", "a.b@c.de", "a", "b", "c", "de", "c.de"]),
        ("C++ or C#?", ["c++", "c", "or", "c#"]),
        ("don't", ["don", "t"]),
        ("again and AGAIN", ["again", "and"]),
        ("___ ... !?", []),
        ("", []),
    ],
)
def test_words_and_codes_are_terms_whole_and_in_parts(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_the_host_of_an_address_is_a_term_with_and_without_www() -> None:
    assert {"www.rki.de", "rki.de", "rki"} <= set(terms("see https://www.rki.de/covid-19"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Übung für Straße", "ubung fur STRASSE"),
        ("Øresund", "oresund"),
        ("ＡＢＣ１２３", "abc123"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("1990–2000", "1990-2000"),
        ("co\u00adoperate", "cooperate"),
        ("Ёлка", "елка"),
        ("مُحَمَّد", "محمد"),
        (unicodedata.normalize("NFD", "서울에서 がくせい é"), "서울에서 がくせい e"),
    ],
)
def test_case_width_and_accents_do_not_matter(one: str, other: str) -> None:
    assert terms(one) == terms(other)


def test_marks_that_make_another_word_stay() -> None:
    assert terms("हिन्दी में") == ["हिन्दी", "में"]
    assert terms("か") != terms("が")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("東京タワーは第2世代のiPhone12です。", "京タワ"),
        ("東京タワーは第2世代のiPhone12です。", "iPhone12"),
        ("世界卫生组织的总部在日内瓦。", "卫生组织"),
        ("การท่องเที่ยวในประเทศไทย", "ประเทศ"),
        ("서울에서 BTS를 봤다", "서울"),
        ("서울에서 BTS를 봤다", "bts"),
    ],
)
def test_a_part_of_an_unspaced_text_shares_all_its_pairs_with_it(text: str, part: str) -> None:
    assert {term for term in terms(part) if len(term) > 1} <= set(terms(text))


def test_a_single_character_of_an_unspaced_script_is_told_from_a_letter() -> None:
    assert is_single_unspaced("猫")
    assert not is_single_unspaced("a")
    assert not is_single_unspaced("猫犬")


def test_the_last_character_of_an_unspaced_run_is_found_alone() -> None:
    assert terms("愛猫") == ["愛猫", "猫"]


def test_a_very_long_word_is_found_by_its_beginning() -> None:
    assert terms("x" * 5000) == ["x" * MAX_TERM_CHARS]


def test_all_terms_of_a_huge_text_fit_into_a_tsvector() -> None:
    found = terms(" ".join(f"word{number}" for number in range(100_000)))
    assert MAX_TOTAL_CHARS - MAX_TERM_CHARS < sum(map(len, found)) <= MAX_TOTAL_CHARS


@given(st.text(max_size=300))
def test_terms_are_distinct_bounded_and_safe_to_join_by_spaces(text: str) -> None:
    found = terms(text)
    assert len(set(found)) == len(found)
    assert all(0 < len(term) <= MAX_TERM_CHARS for term in found)
    assert " ".join(found).split() == found
    assert not set("\\'\"\x00") & set("".join(found))
    assert set(terms(text.upper())) == set(terms(text.upper().lower()))
