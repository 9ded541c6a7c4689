"""A batch stops before it costs more than it may."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.resilience.budget import TokenBudget
from helix_pipelines.resilience.errors import UnavailableError


def test_the_last_token_may_be_used_and_not_one_more() -> None:
    budget = TokenBudget(100, spent=40)
    budget.reserve(60)
    with pytest.raises(UnavailableError, match=r"BATCH_BUDGET_SPENT.*100 of the 100 tokens") as caught:
        budget.reserve(1)
    assert caught.value.retry_in is None, "a person has to decide"


def test_a_refused_request_takes_nothing() -> None:
    budget = TokenBudget(100, spent=0)
    with pytest.raises(UnavailableError):
        budget.reserve(101)
    budget.reserve(100)


def test_what_was_not_used_can_be_used_by_another_request() -> None:
    budget = TokenBudget(100, spent=0)
    budget.reserve(100)
    budget.settle(100, 30)
    budget.reserve(70)


def test_what_was_used_beyond_the_estimate_counts() -> None:
    budget = TokenBudget(100, spent=0)
    budget.reserve(50)
    budget.settle(50, 80)
    with pytest.raises(UnavailableError, match="80 of the 100"):
        budget.reserve(21)


def test_no_limit_allows_all() -> None:
    TokenBudget(None, spent=10**12).reserve(10**12)


@given(
    limit=st.integers(0, 1000),
    spent=st.integers(0, 500),
    requests=st.lists(st.tuples(st.integers(0, 200), st.floats(0, 1)), max_size=30),
)
def test_the_limit_is_never_passed_by_requests_that_cost_no_more_than_estimated(
    limit: int, spent: int, requests: Iterable[tuple[int, float]]
) -> None:
    budget = TokenBudget(limit, spent)
    paid = 0
    for estimate, share in requests:
        try:
            budget.reserve(estimate)
        except UnavailableError:
            assert spent + paid + estimate > limit
            continue
        paid += int(estimate * share)
        budget.settle(estimate, int(estimate * share))
    assert paid == 0 or spent + paid <= limit


def test_threads_cannot_pass_it_together() -> None:
    budget = TokenBudget(1000, spent=0)

    def reserve(_: int) -> int:
        try:
            budget.reserve(7)
        except UnavailableError:
            return 0
        return 7

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, range(1000))) == 994
