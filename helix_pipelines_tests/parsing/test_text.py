from __future__ import annotations

import io

import pytest

from helix_pipelines.parsing.text import ANY_NEWLINE, UNIX_NEWLINE, line_windows, storable, undecoded


def lines_of(data: bytes, encoding: str = "utf-8", newline: str = ANY_NEWLINE, longest: int = 1000) -> list[str]:
    return [line for window in line_windows(io.BytesIO(data), encoding, "strict", newline, longest) for line in window]


def test_a_mark_is_dropped_at_the_start_only() -> None:
    assert lines_of("\ufeffa\n\ufeffb\n".encode(), "utf-8-sig") == ["a\n", "\ufeffb\n"]
    assert lines_of("\ufeffa\n\ufeffb\n".encode("utf-16-be"), "utf-16-be") == ["a\n", "\ufeffb\n"]


def test_line_ends_inside_wide_characters_do_not_cut_them() -> None:
    text = "\u0a0a\u0d0d\n\u0a00x"  # Gurmukhi and Malayalam, made of the bytes of line ends
    assert lines_of(text.encode("utf-16-le"), "utf-16-le") == ["\u0a0a\u0d0d\n", "\u0a00x"]


def test_json_lines_end_at_the_line_feed_only() -> None:
    assert lines_of(b"a\rb\x0b\r\nc", newline=UNIX_NEWLINE) == ["a\rb\x0b\r\n", "c"]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le"])
def test_a_line_that_cannot_be_held_is_cut_but_known_to_be_too_long(encoding: str) -> None:
    window = lines_of(("a\n" + "残" * 200_000 + "\nb").encode(encoding), encoding, longest=100)
    assert window[0] == "a\n"
    assert 100 < len(window[1]) < 200_000
    assert window[-1] == "b"


def test_what_is_kept_of_a_refused_text_can_be_stored_and_shown() -> None:
    text = b"caf\xe9\0".decode("utf-8", "surrogateescape") + "\ud800"
    assert undecoded(text) == ["\\xe9"]
    assert storable(text) == "caf\\xe9\\x00\\ud800"
    assert storable("x" * 10, 4) == "xxxx ... [6 more characters]"
