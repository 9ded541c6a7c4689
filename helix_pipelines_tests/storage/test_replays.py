from __future__ import annotations

import pytest

from helix_pipelines.storage.replays import number_ranges


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [([], ""), ([5], "5"), ([4, 2, 3, 9], "2-4,9"), ([1, 1, 2], "1-2"), ([1, 3, 5], "1,3,5")],
)
def test_row_numbers_are_written_as_ranges(numbers: list[int], ranges: str) -> None:
    assert number_ranges(numbers) == ranges
