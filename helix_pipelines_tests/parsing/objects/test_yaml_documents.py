from __future__ import annotations

import codecs
import gzip
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.codes import RowCode
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.objects.yaml_values import YamlValues
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.objects.test_layouts import LAYOUTS, PAIRS
from helix_pipelines_tests.parsing.reading import read

WORD = st.text(st.characters(categories=["L", "Nd", "Po", "Zs"]), max_size=20)


def values(text: str, limits: ParseLimits | None = None) -> list[Any]:
    return list(YamlValues(text, limits or ParseLimits()))


@settings(max_examples=10, deadline=None)
@given(PAIRS, st.booleans())
@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"table"}))
def test_every_layout_gives_its_pairs_in_order(layout: str, pairs: list[tuple[str, str]], is_ascii: bool) -> None:
    # YAML has U+0085 for a line end, and its emitters do not escape it.
    pairs = [(f"xx{at} {q}".replace("\x85", ""), f"xx {a}".replace("\x85", "")) for at, (q, a) in enumerate(pairs)]
    content = yaml.safe_dump(LAYOUTS[layout](pairs), allow_unicode=not is_ascii, sort_keys=False)
    found = read(content)
    assert (found.sniffed.format, found.pairs, found.refused) == ("yaml", pairs, [])
    assert read(content, skip=1).rows == found.rows[1:]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "- ",
                "a: ",
                "q: x",
                "? ",
                ": ",
                "\n",
                "  ",
                "&a ",
                "*a",
                "<<: *a",
                "[",
                "]",
                "{",
                "}",
                ",",
                '"',
                "'",
                "|\n",
                "!!python/object:os.system ",
                "---\n",
                "...\n",
                "%YAML 1.2\n",
                "#",
                "\t",
                "\\x",
                "~",
                "é",
                "\ud7ff",
                "\x85",
            ]
        ),
        max_size=25,
    ).map("".join)
)
def test_any_text_gives_values_or_is_rejected(text: str) -> None:
    try:
        found = values(text)
    except FileRejectedError as error:
        rejection = error
    else:
        assert None not in found
        return
    assert rejection.code in {"INVALID_YAML", "NESTED_TOO_DEEPLY"}
    assert len(rejection.message) < 500


@given(
    st.recursive(
        WORD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORD, inner, max_size=4), max_leaves=20
    )
)
def test_what_is_dumped_is_read(value: Any) -> None:
    assert values(yaml.safe_dump(value, allow_unicode=True)) == [value]


@pytest.mark.parametrize(
    "scalar", ["NO", "12:30", "1.10", "0x1F", "007", "null", "true", "2024-01-01", "1e3", "'~'", "!!int 3"]
)
def test_a_scalar_stays_the_text_that_stands_there(scalar: str) -> None:
    assert values(f"answer: {scalar}") == [{"answer": scalar.removeprefix("!!int ").strip("'")}]


@pytest.mark.parametrize("scalar", ["", "~", "''", '"  "'])
def test_nothing_is_no_answer(scalar: str) -> None:
    found = read(f"- question: q\n  answer: {scalar}\n- question: q\n  answer: a\n")
    assert (found.pairs, found.refused) == ([("q", "a")], [(1, RowCode.ANSWER_MISSING)])


@pytest.mark.parametrize(
    "content",
    [
        "question: q\nanswer: a\n",
        "---\nquestion: q\nanswer: a\n...\n",
        "# notes\n\n# more\n- question: q\n  answer: a\n",
        "- {question: q, answer: a}\n",
        "- - Question\n  - Answer\n- - q\n  - a\n",
        '"faq":\n  "question": q\n  "answer": a\n',
        "? question\n: q\n? answer\n: a\n",
        "faq:\r\n  - question: q\r\n    answer: a\r\n",
        "\ufefffaq:\n  - question: q\n    answer: a\n",
        codecs.BOM_UTF16_LE + "faq:\n  - question: q\n    answer: a\n".encode("utf-16-le"),
        gzip.compress(b"faq:\n  - question: q\n    answer: a\n", mtime=0),
        "base: &base\n  answer: a\nfaq:\n  - <<: *base\n    question: q\n",
        "!!python/object/apply:os.system\nfaq:\n  - !record {question: !!python/name:os.system q, answer: a}\n",
    ],
)
def test_ways_to_write_one_record(content: str | bytes) -> None:
    found = read(content if isinstance(content, bytes) else content.encode())
    assert (found.sniffed.format, found.pairs) == ("yaml", [("q", "a")])


def test_several_documents_are_records_or_lists_of_them() -> None:
    found = read("---\nquestion: q1\nanswer: x\n---\n---\n- question: q2\n  answer: y\n---\nquestion: q3\n")
    assert (found.pairs, found.refused) == ([("q1", "x"), ("q2", "y")], [(3, RowCode.ANSWER_MISSING)])


def test_equal_keys_are_reported_and_explicit_ones_win_over_merged_ones() -> None:
    found = read("- question: q\n  answer: a\n  answer: b\n- &x\n  question: q\n  answer: a\n- <<: *x\n  question: p\n")
    assert (found.pairs, found.refused) == ([("q", "a"), ("p", "a")], [(1, RowCode.DUPLICATE_KEY)])


def test_what_no_database_holds_is_refused_with_its_record() -> None:
    good = "- question: q\n  answer: ä\n".encode()
    found = read(good * 30 + b'- question: caf\xe9\n  answer: a\n- question: "\\0"\n  answer: a\n' + good)
    assert found.refused == [(31, RowCode.BAD_ENCODING), (32, RowCode.NUL_BYTE)]
    assert "caf\\xe9" in found.rows[30].raw


def rejected(content: str, limits: ParseLimits | None = None) -> FileRejectedError:
    with pytest.raises(FileRejectedError) as rejection:
        read(content, limits=limits)
    return rejection.value


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("question: q\nanswer: 'a\n", "INVALID_YAML"),
        ("question: q\n\tanswer: a\n", "INVALID_YAML"),
        ("question: q\nanswer: *a\n", "INVALID_YAML"),
        ("faq: &a\n  - *a\n", "INVALID_YAML"),
        ("faq: &a [x]\nmore: &a\n  - *a\n", "INVALID_YAML"),
        ("a: &a x\nb: [" + "*a," * 50 + "]\n", "TOO_MANY_ALIASES"),
        ("a: " + "[" * 100_000, "NESTED_TOO_DEEPLY"),
        ("- " * 100_000 + "\n", "NESTED_TOO_DEEPLY"),
        ("a: {b: c}\n", "UNSUPPORTED_LAYOUT"),
        ("name: x\nport: 80\n", "COLUMNS_NOT_FOUND"),
        ("!nothing\n", "EMPTY_FILE"),
        ("question: q\nanswer: " + "x" * 3000, "DOCUMENT_TOO_LARGE"),
    ],
)
def test_what_cannot_be_read_is_rejected(content: str, code: str) -> None:
    most = 2_000 if code == "DOCUMENT_TOO_LARGE" else 10_000_000
    rejection = rejected(content, ParseLimits(aliases=20, document_bytes=most))
    assert rejection.code == code
    assert len(rejection.message) < 1500


def test_broken_yaml_is_rejected_with_its_line() -> None:
    assert "line 3" in rejected("question: q\nanswer: a\nb: [}\n").message


def test_a_bomb_of_aliases_is_rejected_before_it_is_followed() -> None:
    lines = ['a0: &a0 ["q", "q", "q", "q", "q", "q", "q", "q", "q"]']
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 20)]
    started = time.process_time()
    assert rejected("\n".join(lines)).code == "TOO_MANY_ALIASES"
    assert time.process_time() - started < 2


@pytest.mark.parametrize("content", ["? " * 99 + "a", "a: {{ name }}\n", "? [x, y]\n: z\n", "? {a: [b]}\n: z\n"])
def test_keys_that_are_no_texts_are_shown_in_brief(content: str) -> None:
    (value,) = values(content)
    while isinstance(value, dict):
        assert all(len(key) <= 200 for key in value)
        value = next(iter(value.values()))
