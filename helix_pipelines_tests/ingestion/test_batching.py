"""Files found together are imported together, within limits, and none is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.ingestion.batching import BatchLimits, InboxFile, is_due, plan_batches

LIMITS = BatchLimits(files=3, bytes=100, age=10)
FILES = st.lists(
    st.builds(InboxFile, st.text("abc/", min_size=1, max_size=8), st.integers(0, 150), st.integers(0, 5)),
    unique_by=lambda file: file.path,
    max_size=30,
)


def files(*sizes: int) -> list[InboxFile]:
    return [InboxFile(f"{index}.csv", size, index) for index, size in enumerate(sizes)]


@given(FILES)
def test_every_file_is_in_one_batch_and_batches_keep_their_limits(found: list[InboxFile]) -> None:
    plans = plan_batches(found, LIMITS)
    assert sorted(file.path for plan in plans for file in plan.files) == sorted(file.path for file in found)
    for plan in plans:
        assert 1 <= len(plan.files) <= LIMITS.files
        assert len(plan.files) == 1 or sum(file.bytes for file in plan.files) <= LIMITS.bytes


@given(FILES)
def test_files_keep_the_order_of_their_times(found: list[InboxFile]) -> None:
    times = [file.modified_ns for plan in plan_batches(found, LIMITS) for file in plan.files]
    assert times == sorted(times)


def test_a_huge_file_has_a_batch_to_itself() -> None:
    plans = plan_batches(files(10, 5000, 10, 10), LIMITS)
    assert [[file.bytes for file in plan.files] for plan in plans] == [[10], [5000], [10, 10]]


def test_nothing_found_is_nothing_planned() -> None:
    assert plan_batches([], LIMITS) == []


def test_the_first_folder_names_the_collection() -> None:
    assert InboxFile("hr/2024/faq.csv", 1, 1).collection == "hr"
    assert InboxFile("faq.csv", 1, 1).collection == "default"


def test_a_batch_is_named_by_its_file_or_by_what_its_files_share() -> None:
    names = [
        plan_batches([InboxFile(path, 1, 1) for path in paths], LIMITS)[0].name
        for paths in (["hr/faq.csv"], ["hr/a.csv", "hr/b.csv"], ["hr/a.csv", "b.csv"])
    ]
    assert names == ["faq.csv", "hr 2 files", "inbox 2 files"]


def test_a_file_waits_for_others_that_still_arrive_but_not_for_long() -> None:
    assert is_due(waited=0, settling=0, limits=LIMITS)
    assert not is_due(waited=9.9, settling=1, limits=LIMITS)
    assert is_due(waited=10, settling=1, limits=LIMITS)
