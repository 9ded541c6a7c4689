"""Between any two positions there is another, and a batch's priority changes no more than its place asks for."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from helix_pipelines.storage.positions import Spot, between, fitting_priority

POSITIONS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-1_000_000, max_value=1_000_000)


@given(POSITIONS, POSITIONS)
def test_there_is_always_room_between_two_positions(one: Decimal, other: Decimal) -> None:
    assume(one != other)
    low, high = sorted([one, other])
    assert low < between(low, high) < high


@pytest.mark.parametrize(
    ("low", "high", "middle"),
    [
        ("1", "2", "1.5"),
        ("1", "10", "6"),
        ("1.5", "2", "1.8"),
        ("-1", "1", "0"),
        ("1.19", "1.21", "1.2"),
        ("9", "21", "20"),
    ],
)
def test_a_position_between_two_is_short(low: str, high: str, middle: str) -> None:
    assert between(Decimal(low), Decimal(high)) == Decimal(middle)


def test_ten_thousand_moves_into_the_same_gap_stay_within_what_an_index_takes() -> None:
    low, high = Decimal(1), Decimal(2)
    for _ in range(1_000):
        low = between(low, high)
    assert len(low.as_tuple().digits) < 400


def spot(priority: int | None) -> Spot | None:
    return None if priority is None else Spot(priority, Decimal(1))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(None, None, 3), (5, 1, 3), (5, 4, 4), (2, 1, 2), (None, 4, 4), (None, 2, 3), (2, None, 2), (4, None, 3)],
)
def test_a_priority_is_changed_as_little_as_its_neighbours_allow(
    before: int | None, after: int | None, expected: int
) -> None:
    assert fitting_priority(3, spot(before), spot(after)) == expected
