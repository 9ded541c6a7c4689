"""What becomes of an archive between the hand-over and the knowledge base."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helix_pipelines.storage.imports import add_member
from helix_pipelines.storage.reports import import_report
from helix_pipelines_tests.stages import Stages

EN = "question,answer\nHow do I pay?,By card.\nWhere are you?,In Berlin.\n"
DE = '{"question": "Wann?", "answer": "Um neun."}\n{"question": "Wo?", "answer": ""}\n'


def pack(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            package.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return path


def report(stages: Stages, key: str) -> list[dict[str, Any]]:
    with psycopg.connect(stages.url) as connection:
        files: list[dict[str, Any]] = import_report(connection, key)["imports"]
        return files


def run(stages: Stages, path: Path) -> str:
    key = stages.begin(path, "faq.zip")
    stages.decide(key)
    stages.embed(key)
    stages.publish(key)
    return key


def test_members_are_imports_with_paths_and_sources_of_their_own(stages: Stages, tmp_path: Path) -> None:
    path = pack(
        tmp_path / "faq.zip", en__faq_DOT_csv=EN, de_DOT_jsonl=DE, logo_DOT_png=b"\x89PNG\r\n\x1a\n" + bytes(50)
    )
    files = report(stages, run(stages, path))
    assert [
        (file["path"], file["source"], file["status"], file["inserted"], file["quarantined"]) for file in files
    ] == [
        (f"{path}/en/faq.csv", "faq.zip/en/faq.csv", "completed", 2, 0),
        (f"{path}/de.jsonl", "faq.zip/de.jsonl", "completed_with_quarantine", 1, 1),
        (f"{path}/logo.png", "faq.zip/logo.png", "rejected", 0, 0),
    ]
    assert [question for question, _ in stages.served()] == ["How do I pay?", "Wann?", "Where are you?"]
    assert stages.violations() == []


def test_a_new_version_of_an_archive_continues_its_members(stages: Stages, tmp_path: Path) -> None:
    run(stages, pack(tmp_path / "faq.zip", en_DOT_csv=EN, de_DOT_jsonl=DE))
    later = EN.replace("Berlin", "Bonn")
    files = report(stages, run(stages, pack(tmp_path / "faq.zip", en_DOT_csv=later, de_DOT_jsonl=DE)))
    assert [(file["unchanged"], file["updated"], file["same_as"] is not None) for file in files] == [
        (1, 1, False),
        (1, 0, True),
    ]


def test_an_archive_in_an_archive_is_refused_and_a_workbook_is_none(stages: Stages, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as package:
        package.writestr("faq.csv", EN)
    key = run(stages, pack(tmp_path / "faq.zip", inner_DOT_zip=inner.getvalue(), en_DOT_csv=EN))
    refused, accepted = report(stages, key)
    assert (refused["status"], refused["error"]["code"]) == ("rejected", "ARCHIVE_IN_ARCHIVE")
    assert accepted["status"] == "completed"


def test_an_archive_without_files_is_rejected_itself(stages: Stages, tmp_path: Path) -> None:
    [file] = report(stages, run(stages, pack(tmp_path / "faq.zip")))
    assert (file["path"], file["status"], file["error"]["code"]) == (
        str(tmp_path / "faq.zip"),
        "rejected",
        "EMPTY_ARCHIVE",
    )


def test_an_archive_whose_unpacking_was_cut_off_is_unpacked_once(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "faq.zip", en_DOT_csv=EN, de_DOT_jsonl=DE)
    key = stages.begin(path, "faq.zip")
    calls = []

    def fail_at_second(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add_member(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("helix_pipelines.ingestion.intake.add_member", fail_at_second)
        with pytest.raises(KeyboardInterrupt):
            stages.decide(key)
    stages.decide(key)
    assert [file["rows_read"] for file in report(stages, key)] == [2, 2]
