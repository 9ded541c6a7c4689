from __future__ import annotations

import time
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake
from helix_pipelines_tests.fakes.hashed_vectors import hashed_vectors
from helix_pipelines_tests.fakes.plain_client import ask, vectors

TEXTS = [f"text {number}" for number in range(8)]
FORMS = pytest.mark.parametrize("form", [{}, {"encoding_format": "base64"}])


def indexes(answer: httpx.Response) -> list[int]:
    return [row["index"] for row in answer.json()["data"]]


@pytest.mark.parametrize("status", [500, 503])
def test_errors_by_chance_have_the_chosen_status(fake: FakeEmbeddingService, status: int) -> None:
    fake.set_faults(p_error=1.0, error_status=status)
    answer = ask(fake, TEXTS)

    assert (answer.status_code, answer.json()["error"]["type"]) == (status, "server_error")
    assert fake.counters().faults == {"error": 1}
    assert fake.counters().texts == 0, "nobody pays for an error"


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    with running_fake(seed=1, p_error=0.3, p_html=0.2) as fake:

        def story(**changes: int) -> list[int]:
            fake.reset()
            fake.set_faults(**changes)
            return [ask(fake, ["a"]).status_code for _ in range(20)]

        first = story()
        assert set(first) == {200, 500, 502}
        assert story() == first
        assert story(seed=2) != first


def test_the_details_of_a_fault_do_not_move_the_next_one(fake: FakeEmbeddingService) -> None:
    kinds = []
    for texts in (["a"], TEXTS):
        fake.reset()
        fake.set_faults(seed=5, p_wrong_order=0.5)
        counts = []
        for _ in range(10):
            ask(fake, texts)
            counts.append(fake.counters().faults)
        kinds.append(counts)

    assert kinds[0] == kinds[1]


def test_a_request_hangs_until_its_client_leaves(fake: FakeEmbeddingService) -> None:
    fake.set_faults(p_hang=1.0)
    with pytest.raises(httpx.ReadTimeout):
        ask(fake, TEXTS, timeout=0.2)
    deadline = time.monotonic() + 5
    while fake.counters().in_flight and time.monotonic() < deadline:
        time.sleep(0.01)

    counters = fake.counters()
    assert (counters.in_flight, counters.statuses, counters.texts) == (0, {499: 1}, 0)


def test_a_slow_answer_is_right_and_late(fake: FakeEmbeddingService) -> None:
    fake.set_faults(p_slow=1.0, slow_seconds=0.2)
    started = time.monotonic()

    assert ask(fake, TEXTS).status_code == 200
    assert 0.2 <= time.monotonic() - started < 2


def test_latencies_spread_around_their_median(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=0.02, latency_sigma=1.0)
    for _ in range(12):
        ask(fake, ["a"])
    log = fake.arrivals()
    seconds = [ended - at for at, ended in zip(log.at, log.ended, strict=True) if ended is not None]

    assert min(seconds) < 0.02 < max(seconds)


@FORMS
def test_a_wrong_count_is_one_too_few_or_too_many(fake: FakeEmbeddingService, form: dict[str, Any]) -> None:
    fake.set_faults(p_wrong_count=1.0)

    assert {len(vectors(ask(fake, TEXTS, **form))) for _ in range(12)} == {7, 9}


@FORMS
def test_a_wrong_order_is_right_by_index(fake: FakeEmbeddingService, form: dict[str, Any]) -> None:
    fake.set_faults(p_wrong_order=1.0)
    answer = ask(fake, TEXTS, **form)

    assert indexes(answer) != list(range(8))
    by_index = dict(zip(indexes(answer), vectors(answer), strict=True))
    right = hashed_vectors(384).of(TEXTS)
    assert all(np.allclose(by_index[place], right[place]) for place in range(8))
    assert fake.counters().texts_spoilt == 0


def test_duplicated_indexes_leave_one_out(fake: FakeEmbeddingService) -> None:
    fake.set_faults(p_duplicated_index=1.0)

    assert len(set(indexes(ask(fake, TEXTS)))) == 7
    assert indexes(ask(fake, ["one"])) == [0, 0]


@FORMS
@pytest.mark.parametrize("dimensions", [384, 1000, 3072])
def test_wrong_dimensions_are_wrong_for_every_size(
    fake: FakeEmbeddingService, form: dict[str, Any], dimensions: int
) -> None:
    fake.set_faults(p_wrong_dimensions=1.0, dimensions=dimensions)

    assert dimensions not in {len(vector) for vector in vectors(ask(fake, TEXTS, **form))}


@FORMS
def test_one_number_is_none(fake: FakeEmbeddingService, form: dict[str, Any]) -> None:
    fake.set_faults(p_nan=1.0)

    assert np.isnan(np.stack(vectors(ask(fake, TEXTS, **form)))).sum() == 1


@FORMS
def test_one_vector_is_zero(fake: FakeEmbeddingService, form: dict[str, Any]) -> None:
    fake.set_faults(p_zero=1.0)
    norms = np.linalg.norm(np.stack(vectors(ask(fake, TEXTS, **form))), axis=1)

    assert (norms == 0).sum() == 1
    assert np.count_nonzero(norms) == 7


@pytest.mark.parametrize("status", [502, 503])
def test_a_proxys_error_page_is_html(fake: FakeEmbeddingService, status: int) -> None:
    fake.set_faults(p_html=1.0, html_status=status)
    answer = ask(fake, TEXTS)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")
    assert answer.text.startswith("<html>")


def test_truncated_json_comes_as_a_whole_answer(fake: FakeEmbeddingService) -> None:
    fake.set_faults(p_truncated=1.0)
    answer = ask(fake, TEXTS)

    assert answer.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)


@pytest.mark.parametrize("texts", [["a"], TEXTS * 200])
def test_a_connection_is_cut_in_the_middle_of_the_body(
    fake: FakeEmbeddingService, texts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    fake.set_faults(p_cut=1.0)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        ask(fake, texts)

    fake.set_faults(p_cut=0.0)
    assert ask(fake, texts).status_code == 200
    assert capfd.readouterr().err == ""


def test_spoilt_texts_are_those_that_have_to_be_paid_again(fake: FakeEmbeddingService) -> None:
    fake.set_faults(p_zero=1.0)
    ask(fake, TEXTS)
    fake.set_faults(p_zero=0.0)
    ask(fake, TEXTS)
    counters = fake.counters()

    assert (counters.texts_spoilt, counters.texts_seen_twice) == (8, 8)
