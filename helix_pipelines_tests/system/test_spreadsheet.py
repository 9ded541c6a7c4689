"""The quarantine in people's hands: three bad rows of a thousand, corrected in LibreOffice, with the real commands throughout."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import xlsxwriter

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

HELIX = str(Path(sys.executable).parent / "helix")
ROWS = 1_000
BAD = {17: ("", "=HYPERLINK(0)"), 400: ("Question 400?", " "), 801: ("@SUM(A1:A9)", "")}
REPAIRED = {17: "What leads nowhere?", 400: "Answer 400.", 801: "+49 30 123"}
CSV = "Text - txt - csv (StarCalc):44,34,76"
"""Commas, double quotes, UTF-8."""

Helix = Callable[..., Any]


@pytest.fixture
def helix(migrated_url: str, service: FakeEmbeddingService, tmp_path: Path) -> Helix:
    """Runs a command in a process of its own and gives the JSON that it prints."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HELIX_")},
        "HELIX_HOME": str(tmp_path / "home"),
        "HELIX_DATABASE_URL": migrated_url,
        "HELIX_EMBEDDING_URL": service.url,
        "HELIX_EMBEDDING_MODEL": "fake",
    }

    def run(*arguments: str) -> Any:
        command = [HELIX, *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    return run


def libreoffice(path: Path, kind: str, folder: Path) -> Path:
    """The file as LibreOffice reads it and saves it in another format. A person is asked for the encoding: UTF-8."""
    profile = (folder / "profile").absolute().as_uri()
    command = [
        "soffice",
        f"-env:UserInstallation={profile}",
        "--headless",
        "--convert-to",
        kind,
        "--outdir",
        str(folder),
    ]
    known = [f"--infilter={CSV}"] if path.suffix == ".csv" else []
    subprocess.run([*command, *known, str(path)], check=True, capture_output=True, timeout=180)
    return folder / f"{path.stem}.{kind.partition(':')[0]}"


def write_workbook(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with xlsxwriter.Workbook(str(path), {"strings_to_formulas": False, "strings_to_urls": False}) as workbook:
        sheet = workbook.add_worksheet("FAQ")
        for number, row in enumerate([("question", "answer"), *rows]):
            sheet.write_row(number, 0, row)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def opened_in_libreoffice(helix: Helix, table: Path) -> list[dict[str, str]]:
    """The export as LibreOffice shows it: three rows, their reasons, and no formula that was run."""
    assert helix("quarantine", "export", "-o", str(table))["rows"] == len(BAD)
    opened = read_csv(libreoffice(table, f"csv:{CSV}", table.parent / f"opened-{table.suffix[1:]}"))
    assert [(row["helix_sheet"], row["helix_row"], row["helix_code"]) for row in opened] == [
        ("FAQ", "17", "QUESTION_MISSING"),
        ("FAQ", "400", "ANSWER_MISSING"),
        ("FAQ", "801", "ANSWER_MISSING"),
    ]
    assert all(row["helix_reason"] and row["helix_hint"] for row in opened)
    assert opened[0]["answer"] == "'=HYPERLINK(0)"
    assert opened[2]["question"] == "'@SUM(A1:A9)"
    return opened


def test_rows_corrected_in_libreoffice_make_the_file_whole(
    helix: Helix, migrated_url: str, service: FakeEmbeddingService, tmp_path: Path
) -> None:
    rows = [BAD.get(number, (f"Question {number}?", f"Answer {number}.")) for number in range(1, ROWS + 1)]
    write_workbook(tmp_path / "faq.xlsx", rows)
    [file] = helix("import", str(tmp_path / "faq.xlsx"))["imports"]
    assert (file["inserted"], file["embedded"], file["quarantined"]) == (997, 997, 3)

    opened = opened_in_libreoffice(helix, tmp_path / "bad.xlsx")
    assert opened_in_libreoffice(helix, tmp_path / "bad.csv") == opened
    corrected = tmp_path / "corrected.csv"
    with corrected.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(opened[0]))
        writer.writeheader()
        for row in opened:
            column = "question" if row["helix_code"] == "QUESTION_MISSING" else "answer"
            writer.writerow({**row, column: REPAIRED[int(row["helix_row"])]})
    before = service.counters().texts
    report = helix("quarantine", "replay", str(libreoffice(corrected, "xlsx", tmp_path / "saved")))

    assert (report["replayed"], report["unchanged"], report["still_faulty"]) == (3, 0, [])
    assert service.counters().texts - before == 3
    assert helix("quarantine", "list")["rows"] == []
    assert helix("verify")["ok"]
    with psycopg.connect(migrated_url) as connection:
        served: dict[str, str] = dict(
            connection.execute("SELECT question, answer FROM helix.knowledge_base").fetchall()
        )
        audited = connection.execute("SELECT keys FROM helix.audit_log WHERE action = 'replay'").fetchall()
    assert len(served) == ROWS
    assert served["What leads nowhere?"] == "=HYPERLINK(0)"
    assert served["@SUM(A1:A9)"] == REPAIRED[801]
    assert [keys["rows"] for (keys,) in audited] == [{"FAQ": "17,400,801"}]
