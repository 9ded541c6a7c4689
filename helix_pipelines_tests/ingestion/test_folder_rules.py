"""What `helix.toml` says of a folder's files, and what is said to people who got it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helix_pipelines.ingestion.folder_rules import RULES_FILE, Rules
from helix_pipelines.resilience.errors import UsageError

SUPPORT = """
collection = "support"
mode = "append"

[[source]]
files = ["faq_*.xlsx", "old/*.csv"]
name = "faq"
mode = "sync"
map = { question = "Frage", answer = "Antwort" }
id = "Nr"
sheets = ["Fragen"]
encoding = "Latin1"
"""


def write(folder: Path, rules: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RULES_FILE).write_text(rules, encoding="utf-8")


def chosen(root: Path, path: str) -> dict[str, Any]:
    return Rules(root).chosen(path)


def test_without_rules_nothing_is_said(tmp_path: Path) -> None:
    assert chosen(tmp_path, "a/b.csv") == {}


def test_versions_of_a_source_are_named_and_read_as_their_folder_says(tmp_path: Path) -> None:
    write(tmp_path, SUPPORT)
    assert chosen(tmp_path, "faq_v2_final.xlsx") == {
        "collection": "support",
        "source": "faq",
        "mode": "sync",
        "mapping": {"question": "Frage", "answer": "Antwort", "external_id": "Nr"},
        "sheets": ("Fragen",),
        "encoding": "iso8859-1",
    }
    assert chosen(tmp_path, "old/2019.csv")["source"] == "faq"
    assert chosen(tmp_path, "other.csv") == {"collection": "support", "mode": "append"}


def test_a_pattern_without_a_slash_means_files_of_that_name_in_any_folder(tmp_path: Path) -> None:
    write(tmp_path, '[[source]]\nfiles = "faq.csv"\nname = "a"\n[[source]]\nfiles = "x/*.csv"\nname = "b"\n')
    rules = Rules(tmp_path)
    assert [rules.chosen(path).get("source") for path in ("faq.csv", "x/faq.csv", "x/y.csv", "z/y.csv")] == [
        *("a", "a", "b", None)
    ]


def test_a_deeper_folder_wins_over_those_above_it(tmp_path: Path) -> None:
    write(tmp_path, 'collection = "all"\nmode = "sync"\n[[source]]\nfiles = "*"\nencoding = "cp1252"\n')
    write(tmp_path / "eu" / "de", 'collection = "de"\n')
    rules = Rules(tmp_path)
    assert rules.chosen("eu/de/a.csv") == {"collection": "de", "mode": "sync", "encoding": "cp1252"}
    assert rules.chosen("eu/a.csv")["collection"] == "all"


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("collection = ", "Invalid value"),
        ('colection = "x"', "colection"),
        ('mode = "replace"', "replace"),
        ('map = { Frage = "question" }', "no role 'Frage'"),
        ('encoding = "klingon"', "klingon"),
        ('collection = " "', "collection is blank"),
        ('[[source]]\nname = "x"', "files"),
        ("# " + "x" * 70_000, "larger than"),
        ('x = "\udcff"'.encode("utf-8", "surrogateescape").decode("latin-1") + "\0", ""),
    ],
)
def test_rules_that_cannot_be_used_say_where_and_why(tmp_path: Path, rules: str, problem: str) -> None:
    write(tmp_path / "support", rules)
    with pytest.raises(UsageError) as refusal:
        chosen(tmp_path, "support/faq.csv")
    assert refusal.value.code == "FOLDER_RULES_INVALID"
    assert str(tmp_path / "support" / RULES_FILE) in refusal.value.message
    assert problem in refusal.value.message
    assert len(refusal.value.message) < 800
    assert chosen(tmp_path, "other/faq.csv") == {}


def test_rules_behind_a_link_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", 'collection = "x"')
    (tmp_path / RULES_FILE).symlink_to(tmp_path / "elsewhere" / RULES_FILE)
    with pytest.raises(UsageError, match="it is a link"):
        chosen(tmp_path, "faq.csv")
