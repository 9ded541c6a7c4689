"""What a person reads in Dagster's UI."""

from __future__ import annotations

from dataclasses import replace

from helix_pipelines.defs.reports import FILES_SHOWN, file_metadata, file_table, markdown_table, row_counts
from helix_pipelines.storage.imports import FileLine


def line(number: int = 1, path: str = "faq.csv", *, code: str | None = None, quarantined: int = 0) -> FileLine:
    return FileLine(
        import_id=number,
        path=path,
        status="rejected" if code else "parsed",
        rows_read=10 + quarantined,
        inserted=7,
        updated=1,
        unchanged=1,
        duplicate=1,
        quarantined=quarantined,
        pending=0,
        code=code,
        message="It has no column for the question." if code else None,
    )


def test_outcomes_of_all_files_add_up_to_the_rows_read() -> None:
    counts = row_counts([line(quarantined=2), line(2)])
    assert counts.pop("rows_read") == 22 == sum(counts.values())


def test_rejected_files_come_first_with_their_reason() -> None:
    table = file_table([line(1), line(2, quarantined=1), line(3, code="COLUMN_MISSING")]).splitlines()
    assert [row.split(" | ")[0] for row in table[2:]] == ["| 3", "| 2", "| 1"]
    assert "COLUMN_MISSING: It has no column for the question." in table[2]


def test_what_was_left_out_of_a_file_is_said_beside_it() -> None:
    note = {"code": "SHEET_HIDDEN", "message": "Sheet 'old' is hidden and was left out."}
    table = file_table([line(1), replace(line(2, "faq.xlsx"), notes=[note])]).splitlines()
    assert table[2].endswith("| SHEET_HIDDEN: Sheet 'old' is hidden and was left out. |")
    assert table[3].endswith("|  |")


def test_a_long_table_says_how_many_files_it_leaves_out() -> None:
    table = file_table([line(number) for number in range(FILES_SHOWN + 5)])
    assert table.endswith("... and 5 files more: `helix status`")


def test_a_file_name_cannot_break_the_table_or_become_markup() -> None:
    table = markdown_table(["file"], [["a|b\n<img src=x>[link](http://x)`code`"]])
    assert table.count("\n") == 2
    assert "\\|" in table
    assert "<img" not in table
    assert "\\[link]" in table


def test_metadata_names_the_imports_and_counts_rejected_files() -> None:
    metadata = file_metadata([line(4), line(5, code="FILE_EMPTY")], 1.23456)
    assert metadata["files"] == 2
    assert metadata["files_rejected"] == 1
    assert metadata["seconds"] == 1.235
