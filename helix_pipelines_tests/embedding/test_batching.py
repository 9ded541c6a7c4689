from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.embedding.batching import BatchSizer, estimate_tokens, plan_batches

TEXTS = st.lists(st.text(max_size=60), max_size=40)


def test_every_text_costs_at_least_one_token() -> None:
    assert estimate_tokens("") == 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("How do I reset my password?", 7),
        ("Wie kann ich mein Passwort zurücksetzen?", 10),
        ("Как сбросить пароль?", 9),
        ("如何重置我的密码", 9),
        ("😀😀😀", 4),
    ],
)
def test_a_text_is_estimated_by_its_script(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(TEXTS, st.integers(1, 10), st.none() | st.integers(1, 50))
def test_batches_cover_all_texts_in_order_within_the_caps(
    texts: list[str], max_texts: int, max_tokens: int | None
) -> None:
    batches = plan_batches(texts, max_texts, max_tokens)

    assert [position for batch in batches for position in batch] == list(range(len(texts)))
    for batch in batches:
        assert 1 <= len(batch) <= max_texts
        if max_tokens is not None and len(batch) > 1:
            assert sum(estimate_tokens(texts[position]) for position in batch) <= max_tokens


def test_a_text_above_the_token_cap_travels_alone() -> None:
    assert plan_batches(["a", "long " * 100, "b"], 10, 20) == [range(1), range(1, 2), range(2, 3)]


def test_without_limits_a_request_starts_with_two_hundred_texts() -> None:
    assert BatchSizer(deadline=120).texts == 200


def test_a_request_starts_no_larger_than_the_service_allows() -> None:
    assert BatchSizer(deadline=120, cap=96).texts == 96


def test_both_limits_together_bound_the_tokens_of_a_request() -> None:
    sizer = BatchSizer(deadline=120, requests_per_minute=60, tokens_per_minute=60_000)

    assert sizer.max_tokens == 1200


def test_a_limit_of_tokens_alone_keeps_requests_small_beside_it() -> None:
    assert BatchSizer(deadline=120, tokens_per_minute=100_000).max_tokens == 700


def test_what_failed_again_and_again_is_sent_alone_in_the_end() -> None:
    sizer = BatchSizer(deadline=120)

    assert [sizer.after(attempts) for attempts in range(6)] == [200, 50, 12, 3, 1, 1]


def test_a_request_that_ran_into_its_deadline_is_halved_down_to_ten() -> None:
    sizer = BatchSizer(deadline=120)
    sizes = []
    for _ in range(6):
        sizer.record_timed_out()
        sizes.append(sizer.texts)

    assert sizes == [100, 50, 25, 12, 10, 10]


@pytest.mark.parametrize("taken", [1, 4, 7, 50, 64, 150])
def test_the_size_that_a_service_takes_is_found_and_not_passed_again(taken: int) -> None:
    sizer = BatchSizer(deadline=120)
    refused = 0
    for _ in range(200):
        if sizer.texts > taken:
            refused += 1
            sizer.record_too_large(sizer.texts)
        else:
            sizer.record_success(seconds=1)

    assert 0.75 * taken <= sizer.texts <= taken
    assert refused <= 12


def test_a_service_that_takes_fewer_than_ten_is_not_sent_ten() -> None:
    sizer = BatchSizer(deadline=120, cap=4)
    sizer.record_timed_out()

    assert sizer.texts == 4


def test_three_quick_successes_grow_the_request_by_half_up_to_its_cap() -> None:
    sizer = BatchSizer(deadline=120, cap=140)
    sizer.record_timed_out()
    sizes = []
    for _ in range(9):
        sizer.record_success(seconds=1)
        sizes.append(sizer.texts)

    assert sizes == [70, 70, 105, 105, 105, 140, 140, 140, 140]


def test_a_slow_success_starts_the_count_again() -> None:
    sizer = BatchSizer(deadline=120)
    sizer.record_timed_out()
    for seconds in (1, 1, 60, 1, 1):
        sizer.record_success(seconds)

    assert sizer.texts == 100
