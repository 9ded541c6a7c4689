from __future__ import annotations

import os
from pathlib import Path

import pytest

from helix_pipelines.ingestion.requested_files import plan_files
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.storage.batches import FileRequest


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("q,a\n", encoding="utf-8")


def plan(*paths: Path, source: str | None = None) -> list[FileRequest]:
    return plan_files(paths, {"collection": "c", "source": source})


def sources(*paths: Path) -> list[str]:
    return [file.source for file in plan(*paths)]


def test_a_file_continues_the_source_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "faq.csv")
    assert plan(tmp_path / "faq.csv") == [FileRequest(str(tmp_path / "faq.csv"), "c", "faq.csv")]


def test_a_folder_gives_its_files_in_order_named_by_their_paths_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a.csv", "sub/c.csv", "sub/a.csv")
    assert sources(tmp_path) == ["a.csv", "b.csv", "sub/a.csv", "sub/c.csv"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", ".a.csv.swp", ".git/config")
    assert sources(tmp_path) == ["a.csv"]


def test_a_hidden_file_that_is_named_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, ".faq.csv")
    assert sources(tmp_path / ".faq.csv") == [".faq.csv"]


def test_a_path_given_twice_is_imported_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    assert sources(tmp_path, tmp_path / "a.csv", tmp_path / "." / "a.csv") == ["a.csv"]


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "en/faq.csv", "de/faq.csv", "more.csv")
    assert sources(tmp_path / "en/faq.csv", tmp_path / "de/faq.csv", tmp_path / "more.csv") == [
        "en/faq.csv",
        "de/faq.csv",
        "more.csv",
    ]


def test_files_never_share_a_source_even_if_telling_them_apart_makes_a_name_that_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "x/a/faq.csv", "x/b/faq.csv", "y/a/faq.csv", "z/x/b/faq.csv")
    named = sources(tmp_path / "x/a/faq.csv", tmp_path / "x/b/faq.csv", tmp_path / "y", tmp_path / "z")
    assert len(set(named)) == 4


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "outside.csv", "in/a.csv")
    (tmp_path / "in" / "b.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(UsageError, match="LINK_OUTSIDE") as refused:
        plan(tmp_path / "in")
    assert str(tmp_path / "in" / "b.csv") in refused.value.message


def test_a_linked_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "outside/a.csv", "in/a.csv")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="LINK_OUTSIDE"):
        plan(tmp_path / "in")


def test_a_link_within_the_folder_is_a_file_like_any_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    assert sources(tmp_path) == ["a.csv", "b.csv"]


def test_pipes_in_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    os.mkfifo(tmp_path / "pipe")
    assert sources(tmp_path) == ["a.csv"]


def test_a_pipe_that_is_named_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="NOT_A_FILE"):
        plan(tmp_path / "pipe")


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PATH_MISSING") as refused:
        plan(tmp_path / "nosuch.csv")
    assert str(tmp_path / "nosuch.csv") in refused.value.message


def test_an_empty_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NO_FILES"):
        plan(tmp_path)


def test_one_source_cannot_name_several_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.csv")
    with pytest.raises(UsageError, match="SOURCE_NEEDS_ONE_FILE"):
        plan(tmp_path, source="faq")
    assert [file.source for file in plan(tmp_path / "a.csv", source="faq")] == ["faq"]


def test_a_folder_s_rules_are_heeded_and_options_win_over_them(tmp_path: Path) -> None:
    touch(tmp_path, "en/faq_v1.csv")
    (tmp_path / "helix.toml").write_text('collection = "support"\n[[source]]\nfiles = "faq_*"\nname = "faq"\n')
    [ruled] = plan_files([tmp_path], {"mode": "sync"})
    assert ruled == FileRequest(str(tmp_path / "en/faq_v1.csv"), "support", "faq", mode="sync")
    [given] = plan_files([tmp_path], {"source": "mine", "collection": "c"})
    assert (given.collection, given.source) == ("c", "mine")
