from __future__ import annotations

import base64
import threading
import time

import httpx
import numpy as np
import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake, running_fake_process
from helix_pipelines_tests.fakes.hashed_vectors import HashedVectors
from helix_pipelines_tests.fakes.plain_client import ask, vectors


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


@pytest.mark.parametrize(
    "change", [{"gremlins": 3}, {"p_nan": 0.6, "p_zero": 0.6}, {"p_nan": -0.1}, {"limit_period": 0}]
)
def test_a_fault_that_cannot_be_is_refused_and_changes_nothing(
    fake: FakeEmbeddingService, change: dict[str, float]
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        fake.set_faults(status=500, **change)
    assert ask(fake, ["a"]).status_code == 200


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


def test_key_model_and_quota_are_switched_while_it_runs(fake: FakeEmbeddingService) -> None:
    fake.set_faults(insufficient_quota=True)
    poor = ask(fake, ["a"])
    assert (poor.status_code, poor.json()["error"]["code"]) == (429, "insufficient_quota")
    assert poor.json()["error"]["type"] == "insufficient_quota"
    assert "retry-after" not in poor.headers

    fake.set_faults(insufficient_quota=False, model="other")
    unknown = ask(fake, ["a"])
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")

    fake.set_faults(model=None, api_key="new")
    assert ask(fake, ["a"]).status_code == 401


def test_too_many_tokens_in_a_request_are_refused(fake: FakeEmbeddingService) -> None:
    fake.set_faults(max_request_tokens=10)

    assert ask(fake, ["x" * 39]).status_code == 200
    assert ask(fake, ["x" * 39, "y"]).status_code == 413
    assert ask(fake, ["x" * 40]).status_code == 413


@pytest.mark.parametrize("texts", [[], [""], ["a", 1], [["a"]], 5, None, {"a": 1}])
def test_what_is_no_text_is_refused(fake: FakeEmbeddingService, texts: object) -> None:
    assert ask(fake, texts).status_code == 400


@pytest.mark.parametrize("dimensions", [0, 5000, "many"])
def test_a_size_that_does_not_exist_is_refused_or_ignored(fake: FakeEmbeddingService, dimensions: object) -> None:
    assert ask(fake, ["a"], dimensions=dimensions).status_code == 400
    fake.set_faults(ignores_dimensions=True)
    assert len(vectors(ask(fake, ["a"], dimensions=48))[0]) == 384


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


def test_every_behaviour_can_be_given_to_the_process_too() -> None:
    behaviour = {"rpm": 1, "limit_kind": "fixed", "limit_period": 3600, "dimensions": 48}
    with running_fake_process(behaviour, latency_ms=1, dimensions=96) as fake:
        answers = [ask(fake, ["a"]) for _ in range(2)]
        fake.outage("refused")
        with pytest.raises(httpx.ConnectError):
            ask(fake, ["a"])
        fake.end_outage()

    assert [answer.status_code for answer in answers] == [200, 429]
    assert len(vectors(answers[0])[0]) == 96, "the command line's own options win"


def test_a_process_ends_quietly_although_a_request_hangs(capfd: pytest.CaptureFixture[str]) -> None:
    with running_fake_process({"p_hang": 1.0}) as fake:
        hanging = threading.Thread(target=pytest.raises, args=(httpx.HTTPError, ask, fake, ["a"]))
        hanging.start()
        while not fake.counters().in_flight:
            time.sleep(0.01)
        ended = time.monotonic()
    hanging.join()

    assert time.monotonic() - ended < 5
    assert capfd.readouterr().err == ""


def test_control_routes_answer_on_the_services_own_port_too(fake: FakeEmbeddingService) -> None:
    assert httpx.get(f"{fake.origin}/counters", trust_env=False).json()["requests"] == 0
    assert httpx.get(f"{fake.origin}/elsewhere", trust_env=False).status_code == 404
