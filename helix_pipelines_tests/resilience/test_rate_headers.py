"""Limits that a service names beside its answers, in all the forms that were seen."""

from __future__ import annotations

import math

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helix_pipelines.resilience.rate_headers import LARGEST, NO_HEADERS, RateHeaders, read_rate_headers


def reset(text: str) -> float | None:
    return read_rate_headers({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text}).reset


def test_limits_and_what_remains_of_them_are_read() -> None:
    headers = httpx.Headers(
        {
            "X-RateLimit-Limit-Requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "X-Ratelimit-Remaining-Tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
        }
    )
    assert read_rate_headers(headers) == RateHeaders(60, 59, 150_000, 149_984, None)


def test_an_answer_without_them_says_nothing() -> None:
    assert read_rate_headers({"content-type": "application/json"}) is NO_HEADERS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1s", 1),
        ("20ms", 0.02),
        ("1h0m30.5s", 3630.5),
        ("1d", 86_400),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("3", 3),
        ("0.5", 0.5),
        ("0s", 0),
    ],
)
def test_the_time_until_what_is_used_up_is_back_comes_in_many_forms(text: str, seconds: float) -> None:
    assert reset(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1x", "m", "1s later", "nan", "inf", "-5", "9" * 400 + "s"])
def test_nonsense_counts_as_nothing_said(text: str) -> None:
    assert reset(text) is None
    assert read_rate_headers({"x-ratelimit-limit-requests": text}).limit_requests is None


def test_only_what_is_used_up_is_waited_for() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-requests": "50s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "4s",
    }
    assert read_rate_headers(headers).reset == 4
    headers["x-ratelimit-remaining-requests"] = "0"
    assert read_rate_headers(headers).reset == 50


@given(text=st.text(alphabet="0123456789.-+eEdhmsnaif ", max_size=30) | st.text(max_size=20))
def test_no_header_makes_a_number_that_cannot_be_waited_for(text: str) -> None:
    names = [
        f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
    ]
    read = read_rate_headers({**dict.fromkeys(names, text), "x-ratelimit-remaining-requests": "0"})
    for value in (read.limit_requests, read.remaining_tokens, read.limit_tokens, read.reset):
        assert value is None or (math.isfinite(value) and 0 <= value <= LARGEST)
