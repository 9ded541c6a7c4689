from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake, running_fake_process
from helix_pipelines_tests.fakes.hashed_vectors import HashedVectors


@pytest.fixture
def fake() -> Iterator[FakeEmbeddingService]:
    with running_fake() as service:
        yield service


def ask(fake: FakeEmbeddingService, texts: Any, **fields: Any) -> httpx.Response:
    payload = {"model": "m", "input": texts, **fields}
    return httpx.post(f"{fake.url}/embeddings", json=payload, trust_env=False, timeout=10)


def test_base64_and_numbers_carry_the_same_vectors(fake: FakeEmbeddingService) -> None:
    numbers = ask(fake, ["a", "b"]).json()["data"]
    encoded = ask(fake, ["a", "b"], encoding_format="base64").json()["data"]

    for plain, packed in zip(numbers, encoded, strict=True):
        vector = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
        assert np.array_equal(vector, np.array(plain["embedding"], np.float32))
        assert plain["index"] == packed["index"]


@pytest.mark.parametrize("dimensions", [1, 384, 1000, 3072])
def test_every_form_of_a_vector_is_the_same_and_depends_on_the_text_alone(dimensions: int) -> None:
    vectors = HashedVectors(dimensions)
    expected = HashedVectors(dimensions).of(["one", "two"])

    assert expected.shape == (2, dimensions)
    assert not np.array_equal(expected[0], expected[1])
    packed = [np.frombuffer(base64.b64decode(text), "<f4") for text in vectors.base64(["one", "two"])]
    assert np.array_equal(np.stack(packed), expected)


def test_vectors_have_length_one() -> None:
    assert np.linalg.norm(HashedVectors(384).of(["one", "two"]), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_single_text_needs_no_list_and_dimensions_may_be_chosen(fake: FakeEmbeddingService) -> None:
    assert len(ask(fake, "one", dimensions=48).json()["data"][0]["embedding"]) == 48


def test_counters_tell_what_was_paid_for_and_what_twice(fake: FakeEmbeddingService) -> None:
    ask(fake, ["a", "b", "c"])
    ask(fake, ["c", "d", "d"])
    ask(fake, [""])
    counters = fake.counters()

    assert (counters.requests, counters.answered, counters.texts) == (3, 2, 6)
    assert counters.texts_seen_twice == 2
    assert counters.statuses == {200: 2, 400: 1}
    assert counters.in_flight == 0


def test_reset_forgets_counters_and_faults(fake: FakeEmbeddingService) -> None:
    fake.set_faults(status=500)
    assert ask(fake, ["a"]).status_code == 500
    fake.reset()

    assert ask(fake, ["a"]).status_code == 200
    assert fake.counters().requests == 1


def test_a_status_can_be_answered_to_the_next_requests_only(fake: FakeEmbeddingService) -> None:
    fake.set_faults(status=429, status_requests=2, retry_after="3", status_code="rate_limit_exceeded")
    answers = [ask(fake, ["a"]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"


def test_one_poisonous_text_refuses_the_whole_request(fake: FakeEmbeddingService) -> None:
    fake.set_faults(poison="XYZZY")

    assert ask(fake, ["good", "has XYZZY in it"]).status_code == 400
    assert ask(fake, ["good"]).status_code == 200


@pytest.mark.parametrize(("fault", "status"), [("ignores_base64", 200), ("refuses_base64", 400)])
def test_base64_can_be_ignored_or_refused(fake: FakeEmbeddingService, fault: str, status: int) -> None:
    fake.set_faults(**{fault: True})
    answer = ask(fake, ["a"], encoding_format="base64")

    assert answer.status_code == status
    if status == 200:
        assert isinstance(answer.json()["data"][0]["embedding"], list)


def test_a_fault_that_does_not_exist_is_refused(fake: FakeEmbeddingService) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        fake.set_faults(gremlins=3)


def test_the_key_the_model_and_the_size_are_checked() -> None:
    with running_fake(api_key="right", model="m", max_texts=2) as fake:
        assert ask(fake, ["a"]).status_code == 401
        headers = {"authorization": "Bearer right"}
        with httpx.Client(headers=headers, trust_env=False) as client:
            url = f"{fake.url}/embeddings"
            assert client.post(url, json={"model": "m", "input": ["a"]}).status_code == 200
            assert client.post(url, json={"model": "n", "input": ["a"]}).status_code == 404
            assert client.post(url, json={"model": "m", "input": ["a"] * 3}).status_code == 413
            assert client.post(url, content=b"{").status_code == 400


def test_requests_are_served_side_by_side(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=0.2)
    threads = [threading.Thread(target=ask, args=(fake, ["a"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert fake.counters().in_flight_peak == 4


def test_it_runs_as_a_process_that_says_where_it_is() -> None:
    with running_fake_process(dimensions=96, api_key="k") as fake:
        answer = httpx.post(
            f"{fake.url}/embeddings",
            json={"input": "a"},
            headers={"authorization": "Bearer k"},
            trust_env=False,
        )

    assert len(answer.json()["data"][0]["embedding"]) == 96
