from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from helix_pipelines.cli.output import table, write_json


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
