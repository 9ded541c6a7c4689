from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from helix_pipelines_tests.fakes.accounting import sliding_window_peak
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.fakes.limits import in_units
from helix_pipelines_tests.fakes.plain_client import ask, side_by_side

SIX_TOKENS = "x" * 20


def statuses(fake: FakeEmbeddingService, texts: list[str], times: int) -> list[int]:
    return [ask(fake, texts).status_code for _ in range(times)]


def test_a_request_above_the_requests_limit_is_refused_as_openai_does(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=2)
    assert statuses(fake, ["a"], 2) == [200, 200]
    refused = ask(fake, ["a"])

    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
    assert "Limit 2, Used 2, Requested 1. Please try again in" in error["message"]
    assert 59 <= int(refused.headers["retry-after"]) <= 60


def test_tokens_are_limited_when_a_request_arrives(fake: FakeEmbeddingService) -> None:
    fake.set_faults(tpm=10)
    assert statuses(fake, [SIX_TOKENS], 2) == [200, 429]
    refused = ask(fake, [SIX_TOKENS])

    assert refused.json()["error"]["type"] == "tokens"
    assert ask(fake, ["abc"]).status_code == 200, "what fits still goes"


def test_the_longer_wait_is_the_one_that_is_told(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=1, tpm=6)
    ask(fake, [SIX_TOKENS])

    assert ask(fake, ["a"]).json()["error"]["type"] == "requests"
    assert ask(fake, [SIX_TOKENS] * 2).json()["error"]["type"] == "tokens", "it would never fit"


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_after_the_wait_that_was_told_a_request_is_answered(fake: FakeEmbeddingService, kind: str) -> None:
    fake.set_faults(rpm=2, limit_period=0.5, limit_kind=kind, retry_after_form="ms")
    answers = [ask(fake, ["a"]) for _ in range(4)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused

    wait = int(refused[-1].headers["retry-after-ms"]) / 1000
    assert 0 < wait <= 0.5
    time.sleep(wait + 0.001)
    assert ask(fake, ["a"]).status_code == 200


def test_a_sliding_window_holds_under_a_storm(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=5, tpm=40, limit_period=0.3)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        side_by_side(lambda: ask(fake, [SIX_TOKENS]), 4)
    log = fake.arrivals()

    assert sliding_window_peak(log.with_status(200), 0.3) == (5, 30)
    assert set(log.status) == {200, 429}


def test_a_bucket_has_its_burst_and_then_the_rate(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=600, limit_kind="bucket", burst_requests=3)
    first = statuses(fake, ["a"], 4)
    assert first[:3] == [200, 200, 200]

    time.sleep(0.11)
    assert ask(fake, ["a"]).status_code == 200, "600 a minute are one in 0.1 s"


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("seconds", {"retry-after"}),
        ("date", {"retry-after"}),
        ("ms", {"retry-after-ms"}),
        ("both", {"retry-after", "retry-after-ms"}),
        ("none", set()),
    ],
)
def test_the_wait_is_told_in_the_chosen_form(fake: FakeEmbeddingService, form: str, names: set[str]) -> None:
    fake.set_faults(rpm=0, retry_after_form=form)
    headers = ask(fake, ["a"]).headers

    assert {name for name in headers if name.startswith("retry-after")} == names
    if form == "date":
        assert 59 <= parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time() <= 62
    if form == "both":
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("60", "60000")


def test_every_answer_tells_how_the_limits_stand(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=10, tpm=100, limit_period=600)
    good, bad = ask(fake, [SIX_TOKENS]), ask(fake, [""])

    assert (good.status_code, bad.status_code) == (200, 400)
    assert good.headers["x-ratelimit-limit-requests"] == "10"
    assert good.headers["x-ratelimit-remaining-requests"] == "9"
    assert good.headers["x-ratelimit-limit-tokens"] == "100"
    assert good.headers["x-ratelimit-remaining-tokens"] == "94"
    assert good.headers["x-ratelimit-reset-requests"] == "10m0s"
    assert good.headers["x-ratelimit-reset-tokens"] == "10m0s"
    assert bad.headers["x-ratelimit-remaining-requests"] == "8"


@pytest.mark.parametrize(
    ("when", "seen"), [("always", [True, True]), ("refused", [False, True]), ("never", [False] * 2)]
)
def test_the_standing_can_be_kept_back(fake: FakeEmbeddingService, when: str, seen: list[bool]) -> None:
    fake.set_faults(rpm=1, limit_headers=when)
    answers = [ask(fake, ["a"]) for _ in range(2)]

    assert ["x-ratelimit-limit-requests" in answer.headers for answer in answers] == seen


def test_a_service_without_limits_says_nothing_of_them(fake: FakeEmbeddingService) -> None:
    assert [name for name in ask(fake, ["a"]).headers if name.startswith(("x-ratelimit", "retry-after"))] == []


def test_requests_at_the_same_time_are_limited(fake: FakeEmbeddingService) -> None:
    fake.set_faults(max_in_flight=2, latency=0.3)
    answers = side_by_side(lambda: ask(fake, ["a"]), 5)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert ask(fake, ["a"]).status_code == 200, "those that ended make room"


def test_a_limit_changed_while_it_runs_keeps_what_was_used(fake: FakeEmbeddingService) -> None:
    fake.set_faults(rpm=3)
    assert statuses(fake, ["a"], 2) == [200, 200]
    fake.set_faults(rpm=2)
    assert ask(fake, ["a"]).status_code == 429
    fake.set_faults(rpm=None)
    assert ask(fake, ["a"]).status_code == 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (0.0171, "18ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (72.5, "1m12.5s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert in_units(seconds) == text
