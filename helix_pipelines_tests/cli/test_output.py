from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from helix_pipelines.cli.output import confirm, one_line, paragraphs, readable, say, table, write_json
from helix_pipelines.resilience.errors import UsageError


def test_columns_are_aligned_with_numbers_to_the_right() -> None:
    assert table(["name", "rows"], [["faq", 1200], ["a longer one", None]]) == (
        "name           rows\nfaq           1,200\na longer one      -"
    )


def test_wide_characters_take_two_columns() -> None:
    lines = table(["name", "x"], [["日本", "a"], ["ab", "b"]]).splitlines()
    assert lines[1:] == ["日本  a", "ab    b"]


def test_a_table_without_rows_is_empty() -> None:
    assert table(["name"], []) == ""


def test_one_json_document_is_one_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"cost": Decimal("0.5"), "at": datetime(2026, 1, 31, tzinfo=UTC), "text": "é"})
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {"cost": 0.5, "at": "2026-01-31T00:00:00Z", "text": "é"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x07\x00\x7f\x9b1m", r"\x07\x00\x7f\x9b1m"),
        ("a\rb", r"a\rb"),
        ("faq\u202exslx.csv", r"faq\u202exslx.csv"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("caf\udce9.csv", r"caf\xe9.csv"),
        ("\ud800", r"\ud800"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("日本 é \u200d", "日本 é \u200d"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_instead(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    assert readable(text) == paragraphs([text, ""]) == readable(shown) == shown
    say(text)
    assert capsys.readouterr().out == shown + "\n"


def test_a_name_stays_on_its_line() -> None:
    assert one_line("a\nb\tc\u2028d") == r"a\nb\tc\u2028d"
    assert table(["name", "x"], [["a\nb\x1b", "y"]]).splitlines() == ["name      x", r"a\nb\x1b  y"]


def test_json_keeps_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"path": "a\x1b\nb\u202e"})
    assert json.loads(capsys.readouterr().out) == {"path": "a\x1b\nb\u202e"}


def test_nobody_is_asked_where_there_is_no_terminal() -> None:
    with pytest.raises(UsageError, match=r"CONFIRMATION_NEEDED.*--yes"):
        confirm("Drop it all?")
