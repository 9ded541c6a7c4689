from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
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
    return plan_files(paths, {"collection": "c", "source": source}).files


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


LATIN_1 = os.fsdecode(b"caf\xe9.csv")


def link_outside(folder: Path) -> None:
    touch(folder.parent, "outside.csv")
    (folder / "bad.csv").symlink_to(folder.parent / "outside.csv")


def link_to_a_folder_outside(folder: Path) -> None:
    touch(folder.parent, "outside/c.csv")
    (folder / "bad.csv").symlink_to(folder.parent / "outside")


def loop(folder: Path) -> None:
    (folder / "bad.csv").symlink_to("bad.csv")


def broken_link(folder: Path) -> None:
    (folder / "bad.csv").symlink_to("nosuch.csv")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad.csv")


def latin_1_file(folder: Path) -> None:
    touch(folder, LATIN_1)


def latin_1_folder(folder: Path) -> None:
    touch(folder, f"{LATIN_1}/c.csv")


BAD_ENTRIES: list[tuple[Callable[[Path], None], str]] = [
    (link_outside, "LINK_OUTSIDE"),
    (link_to_a_folder_outside, "LINK_OUTSIDE"),
    (loop, "PATH_UNREADABLE"),
    (broken_link, "LINK_BROKEN"),
    (pipe, "NOT_A_FILE"),
    (latin_1_file, "NAME_NOT_UTF8"),
    (latin_1_folder, "NAME_NOT_UTF8"),
]


@pytest.mark.parametrize(("make", "code"), BAD_ENTRIES)
def test_what_cannot_be_imported_is_left_out_of_a_folder_and_told(
    tmp_path: Path, make: Callable[[Path], None], code: str
) -> None:
    touch(tmp_path, "in/a.csv", "in/z.csv")
    make(tmp_path / "in")
    made = plan_files([tmp_path / "in"], {})
    assert [file.source for file in made.files] == ["a.csv", "z.csv"]
    [reason] = made.left_out
    assert reason.code == code
    assert ("caf\\xe9.csv" if code == "NAME_NOT_UTF8" else str(tmp_path / "in" / "bad.csv")) in reason.message


@pytest.mark.parametrize(("make", "code"), BAD_ENTRIES)
def test_a_folder_of_nothing_else_is_wrong_use_for_that_reason(
    tmp_path: Path, make: Callable[[Path], None], code: str
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    with pytest.raises(UsageError, match=code):
        plan(tmp_path / "in")


@pytest.mark.parametrize(("make", "code"), [entry for entry in BAD_ENTRIES if entry[1] != "LINK_OUTSIDE"])
def test_what_cannot_be_imported_is_refused_where_it_is_named_itself(
    tmp_path: Path, make: Callable[[Path], None], code: str
) -> None:
    make(tmp_path)
    [bad] = tmp_path.iterdir()
    with pytest.raises(UsageError, match=code):
        plan(bad)


def test_a_name_that_is_too_long_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PATH_UNREADABLE"):
        plan(tmp_path / ("a" * 300))


def test_a_folder_below_that_cannot_be_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.csv", "shut/b.csv", "z/c.csv")
    scan = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    made = plan_files([tmp_path], {})
    assert [file.source for file in made.files] == ["a.csv", "z/c.csv"]
    assert [reason.message for reason in made.left_out] == [f"{tmp_path / 'shut'} cannot be listed: Permission denied."]
    with pytest.raises(UsageError, match="FOLDER_UNREADABLE"):
        plan(tmp_path / "shut")


def test_a_linked_folder_within_is_not_walked_twice(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.csv")
    (tmp_path / "again").symlink_to("sub")
    made = plan_files([tmp_path], {})
    assert ([file.source for file in made.files], made.left_out) == (["sub/a.csv"], [])


def test_a_link_within_the_folder_is_a_file_like_any_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    assert sources(tmp_path) == ["a.csv", "b.csv"]


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
    [ruled] = plan_files([tmp_path], {"mode": "sync"}).files
    assert ruled == FileRequest(str(tmp_path / "en/faq_v1.csv"), "support", "faq", mode="sync")
    [given] = plan_files([tmp_path], {"source": "mine", "collection": "c"}).files
    assert (given.collection, given.source) == ("c", "mine")
