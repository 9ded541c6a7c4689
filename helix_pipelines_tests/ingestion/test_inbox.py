"""A file is taken once for each content it has had, when it has come to rest, and a failed look forgets nothing."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from helix_pipelines.ingestion.batching import BatchLimits, InboxFile
from helix_pipelines.ingestion.inbox import (
    InboxReport,
    KnownFile,
    Listing,
    compare,
    list_inbox,
    take_stable_files,
)
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines_tests.deployment import Deployment

LIMITS = BatchLimits(files=10, bytes=10_000, age=10)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def look(root: Path, after: str | None = None) -> Listing:
    return list_inbox(root, after=after, deadline=time.monotonic() + 20, clock=time.monotonic)


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("question,answer\n")


def take(deployment: Deployment, stable_seconds: float = 0) -> InboxReport:
    with psycopg.connect(deployment.url) as connection:
        return take_stable_files(connection, deployment.inbox, look(deployment.inbox), LIMITS, stable_seconds)


def test_files_are_listed_folder_by_folder_in_one_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a/z.csv", "a/b/c.csv", "a.csv")
    assert paths(look(tmp_path)) == ["a/b/c.csv", "a/z.csv", "a.csv", "b.csv"]


def test_drafts_hidden_files_and_links_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden", ".git/config", "~$faq.xlsx", "a.csv.part", "a.CSV.TMP", "real.csv")
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    assert paths(look(tmp_path)) == ["real.csv"]


def test_a_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "good.csv")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")).touch()
    listing = look(tmp_path)
    assert paths(listing) == ["good.csv"]
    assert len(listing.problems) == 1
    assert "not UTF-8" in listing.problems[0]


def test_a_missing_inbox_is_an_error_and_not_an_empty_inbox(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="INBOX_UNREADABLE"):
        look(tmp_path / "unmounted")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_listing_that_runs_out_of_time_is_continued_where_it_stopped(tmp_path: Path, size: int) -> None:
    names = ["a/1.csv", "a/2.csv", "a/b/3.csv", "a.csv", "c/4.csv", "d.csv"]
    touch(tmp_path, *names)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        part = list_inbox(tmp_path, after=cursor, deadline=size - 1, clock=count(1).__next__)
        found += paths(part)
        cursor = part.until
        if cursor is None:
            break
    assert found == paths(look(tmp_path))


def known(name: str, *, size: int = 1, age: float = 0, taken: bool = False) -> KnownFile:
    return KnownFile(InboxFile(name, size, 1), NOW - timedelta(seconds=age), taken)


def test_a_file_is_stable_once_it_has_kept_size_and_time_for_long_enough() -> None:
    listing = Listing([InboxFile(name, 1, 1) for name in ("young", "ripe", "grown", "new", "taken")], None, None)
    changes = compare(
        listing,
        [
            known("young", age=4),
            known("ripe", age=7),
            known("grown", size=9, age=60),
            known("taken", age=60, taken=True),
        ],
        NOW,
        stable_seconds=5,
    )
    assert [file.path for file in changes.stable] == ["ripe"]
    assert [file.path for file in changes.changed] == ["grown", "new"]
    assert changes.settling == 3
    assert changes.waited == 2


def test_only_a_complete_look_can_say_that_a_file_is_gone() -> None:
    entries = [known("a"), known("b"), known("c")]
    whole = Listing([InboxFile("b", 1, 1)], None, None)
    part = Listing([InboxFile("b", 1, 1)], "a", "b")
    troubled = Listing([InboxFile("b", 1, 1)], None, None, ["folder: Permission denied"])
    assert [compare(listing, entries, NOW, 5).gone for listing in (whole, part, troubled)] == [["a", "c"], [], []]


def test_a_file_is_taken_once_it_has_been_seen_twice(deployment: Deployment) -> None:
    touch(deployment.inbox, "hr/faq.csv")
    assert take(deployment).batches == []
    [key] = take(deployment).batches
    assert take(deployment).batches == []
    [job] = deployment.query(
        "SELECT c.name AS collection, s.name AS source, j.path, b.state, b.partition_key FROM helix.import_job j"
        " JOIN helix.source s ON s.id = j.source_id JOIN helix.collection c ON c.id = s.collection_id"
        " JOIN helix.import_batch b ON b.id = j.batch_id"
    )
    assert job == {
        "collection": "hr",
        "source": "hr/faq.csv",
        "path": str(deployment.inbox / "hr/faq.csv"),
        "state": "queued",
        "partition_key": key,
    }


def test_a_file_that_changed_is_taken_again(deployment: Deployment) -> None:
    touch(deployment.inbox, "faq.csv")
    take(deployment)
    assert len(take(deployment).batches) == 1
    (deployment.inbox / "faq.csv").write_text("question,answer\nWho?,Me\n")
    assert take(deployment).batches == []
    assert len(take(deployment).batches) == 1


def test_a_file_that_was_removed_and_put_back_is_taken_again(deployment: Deployment) -> None:
    touch(deployment.inbox, "faq.csv")
    take(deployment)
    take(deployment)
    (deployment.inbox / "faq.csv").unlink()
    take(deployment)
    touch(deployment.inbox, "faq.csv")
    take(deployment)
    assert len(take(deployment).batches) == 1


def test_a_file_that_is_still_written_to_is_not_taken(deployment: Deployment) -> None:
    touch(deployment.inbox, "faq.csv")
    for _ in range(3):
        assert take(deployment, stable_seconds=60) == InboxReport([], settling=1, waiting=0, problems=[])


def test_files_found_together_become_one_batch(deployment: Deployment) -> None:
    touch(deployment.inbox, *(f"{index}.csv" for index in range(12)))
    take(deployment)
    assert len(take(deployment).batches) == 2
    sizes = deployment.query("SELECT count(*) AS files FROM helix.import_job GROUP BY batch_id ORDER BY batch_id")
    assert [row["files"] for row in sizes] == [10, 2]


def test_files_are_taken_as_the_rules_of_their_folder_say_and_wait_where_these_are_broken(
    deployment: Deployment,
) -> None:
    touch(deployment.inbox, "rules/faq_v2.csv", "broken/faq.csv")
    (deployment.inbox / "rules" / "helix.toml").write_text(
        'collection = "support"\n[[source]]\nfiles = "faq_*.csv"\nname = "faq"\nmode = "sync"\nmap = { question = "Q" }\n'
    )
    (deployment.inbox / "broken" / "helix.toml").write_text("collection = \n")
    take(deployment)
    report = take(deployment)
    with psycopg.connect(deployment.url) as connection:
        taken = connection.execute(
            "SELECT c.name, s.name, j.mode, j.mapping FROM helix.import_job j JOIN helix.source s ON s.id = j.source_id"
            " JOIN helix.collection c ON c.id = s.collection_id JOIN helix.import_batch b ON b.id = j.batch_id"
            " WHERE b.partition_key = ANY (%s)",
            [report.batches],
        ).fetchall()
    assert taken == [("support", "faq", "sync", {"question": "Q"})]
    assert report.waiting == 1
    assert ["broken/helix.toml cannot be used" in problem for problem in report.problems] == [True]
    (deployment.inbox / "broken" / "helix.toml").write_text('collection = "mended"\n')
    assert len(take(deployment).batches) == 1
