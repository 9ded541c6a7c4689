from __future__ import annotations

import msgspec
import pytest

from helix_pipelines.cli.settings import describe, field_docstrings, markdown_table
from helix_pipelines.settings import Settings
from helix_pipelines_tests.cli.conftest import RunHelix


def test_every_setting_says_what_it_is_for() -> None:
    fields = [field.name for field in msgspec.structs.fields(Settings)]
    assert [name for name in fields if not field_docstrings(Settings).get(name)] == []


def test_a_secret_is_never_printed(helix: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIX_EMBEDDING_API_KEY", "sk-visible")
    monkeypatch.setenv("HELIX_DATABASE_URL", "postgresql://helix:sk-visible@127.0.0.1/helix")
    printed = [helix("settings", *options).stdout for options in ([], ["--json"], ["--markdown"])]
    assert all("sk-visible" not in text for text in printed)
    assert all("HELIX_EMBEDDING_API_KEY" in text for text in printed)


def test_values_in_force_are_shown_beside_defaults(helix: RunHelix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIX_MAX_COLUMNS", "7")
    document = helix("settings", "--json").document
    assert document["HELIX_MAX_COLUMNS"]["value"] == "7"
    assert document["HELIX_MAX_COLUMNS"]["default"] == "2,000"
    assert "HELIX_MAX_COLUMNS = 7" in helix("settings").stdout


def test_the_markdown_table_has_a_row_a_setting() -> None:
    assert markdown_table(describe(None)).count("\n") == len(msgspec.structs.fields(Settings)) + 1
