from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from helix_pipelines.embedding.api import EmbeddingApi
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.loopback import loopback_channel
from helix_pipelines.embedding.reply import parse_reply
from helix_pipelines.resilience.errors import (
    GlobalError,
    HelixError,
    ItemError,
    LimitedError,
    SetupError,
    TooLargeError,
    TransientError,
)
from helix_pipelines.settings import Secret
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.embedding_service import (
    EmbeddingServiceApp,
    FakeEmbeddingService,
    running_app,
    running_fake,
)
from helix_pipelines_tests.fakes.hashed_vectors import hashed_vectors

KEY = "sk-very-secret"
ROW_TEXT = "Is Jane Doe's salary 90k?"


@pytest.fixture
def fake() -> Iterator[FakeEmbeddingService]:
    with running_fake() as service:
        yield service


@contextmanager
def client_of(url: str, dimensions: int | None = None, **options: Any) -> Iterator[EmbeddingClient]:
    with EmbeddingClient(url, Secret(KEY), "m", dimensions, max_connections=4, **options) as client:
        yield client


@contextmanager
def lean_client_of(url: str, dimensions: int | None = None, timeout: float = 60) -> Iterator[EmbeddingApi]:
    """What a search asks the local embedder through."""
    channel = loopback_channel(url, Secret(KEY))
    assert channel is not None
    with EmbeddingApi(channel, "m", dimensions, timeout=timeout) as api:
        yield api


Connect = Callable[..., AbstractContextManager[EmbeddingApi]]
over_every_channel = pytest.mark.parametrize("connect", [client_of, lean_client_of])


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


Answerer = Callable[[list[str]], tuple[int, bytes]]


@contextmanager
def answering(answer: Answerer, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that answers whatever `answer` makes of the texts; gives its base URL."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        status, content = answer(orjson.loads(body + message["body"])["input"])
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    with running_app(app) as origin:
        yield f"{origin}/v1"


def answer_of(*embeddings: Any, indexes: list[Any] | None = None, **more: Any) -> bytes:
    places = indexes if indexes is not None else list(range(len(embeddings)))
    data = [{"index": index, "embedding": vector} for index, vector in zip(places, embeddings, strict=True)]
    return orjson.dumps({"data": data, **more})


def error_from(
    answer: Answerer,
    texts: list[str],
    dimensions: int | None = None,
    connect: Connect = client_of,
    **headers: str,
) -> HelixError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with answering(answer, named) as url, connect(url, dimensions) as client, pytest.raises(HelixError) as caught:
        client.embed(texts, soon())
    assert KEY not in str(caught.value)
    assert ROW_TEXT not in str(caught.value)
    return caught.value


@over_every_channel
def test_texts_come_back_as_vectors_in_their_order(fake: FakeEmbeddingService, connect: Connect) -> None:
    texts = [f"text {number}" for number in range(50)]
    with connect(fake.url) as client:
        reply = client.embed(texts, soon())

    assert reply.vectors.dtype == np.float32
    assert np.array_equal(reply.vectors, hashed_vectors(384).of(texts))
    assert (reply.tokens, reply.requests) == (fake.counters().tokens, 1)


def test_threads_share_one_client(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=0.02)
    replies: dict[int, Any] = {}
    with client_of(fake.url) as client:

        def work(number: int) -> None:
            replies[number] = client.embed([f"text {number}"], soon()).vectors

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for number in range(12):
        assert np.array_equal(replies[number], hashed_vectors(384).of([f"text {number}"]))
    assert fake.counters().in_flight_peak <= 4


def test_dimensions_are_asked_for_when_set(fake: FakeEmbeddingService) -> None:
    with client_of(fake.url, 48) as client:
        assert client.embed(["a"], soon()).vectors.shape == (1, 48)


def test_the_base_url_may_end_in_a_slash(fake: FakeEmbeddingService) -> None:
    with client_of(fake.url + "/") as client:
        assert client.embed(["a"], soon()).requests == 1


def test_a_server_that_ignores_base64_is_understood(fake: FakeEmbeddingService) -> None:
    fake.set_faults(ignores_base64=True)
    with client_of(fake.url) as client:
        reply = client.embed(["a", "b"], soon())

    assert np.array_equal(reply.vectors, hashed_vectors(384).of(["a", "b"]))
    assert reply.requests == 1


@over_every_channel
def test_a_server_that_refuses_base64_is_asked_for_numbers_from_then_on(
    fake: FakeEmbeddingService, connect: Connect
) -> None:
    fake.set_faults(refuses_base64=True)
    with connect(fake.url) as client:
        first = client.embed(["a"], soon())
        second = client.embed(["b", "c"], soon())

    assert np.array_equal(first.vectors, hashed_vectors(384).of(["a"]))
    assert (first.requests, second.requests) == (3, 1)
    assert fake.counters().requests == 4


def test_a_poisonous_text_is_never_blamed_on_base64(fake: FakeEmbeddingService) -> None:
    fake.set_faults(poison="XYZZY")
    with client_of(fake.url) as client:
        for texts in (["XYZZY", "good"], ["XYZZY"], ["XYZZY"], ["XYZZY"]):
            with pytest.raises(ItemError):
                client.embed(texts, soon())
        assert fake.counters().requests == 5, "one probe, once"
        assert client.embed(["good"], soon()).requests == 1


@over_every_channel
def test_a_service_that_refuses_every_text_is_not_believed_to_mean_them(connect: Connect) -> None:
    """As the litellm proxy does for dimensions, a model or a key that it does not know."""
    body = b'{"error": {"message": "...", "type": "invalid_request_error", "param": null, "code": "400"}}'
    error = error_from(lambda _: (400, body), [ROW_TEXT], dimensions=384, connect=connect)

    assert isinstance(error, GlobalError)
    assert error.code == "EMBEDDING_REQUESTS_REFUSED"
    assert "HELIX_EMBEDDING_DIMENSIONS" in error.message


def test_a_refused_text_is_blamed_itself_by_a_service_that_takes_neither_it_nor_base64(
    fake: FakeEmbeddingService,
) -> None:
    fake.set_faults(poison="XYZZY", refuses_base64=True)
    with client_of(fake.url) as client:
        with pytest.raises(ItemError):
            client.embed(["XYZZY"], soon())
        assert client.embed(["good"], soon()).requests == 1
    assert fake.counters().requests == 5


def test_vectors_are_sorted_by_their_index() -> None:
    with (
        answering(lambda _: (200, answer_of([0.0, 1.0], [1.0, 0.0], indexes=[1, 0]))) as url,
        client_of(url) as client,
    ):
        reply = client.embed(["a", "b"], soon())

    assert reply.vectors.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_tokens_are_estimated_where_the_service_reports_none() -> None:
    with answering(lambda _: (200, answer_of([1.0], usage=None))) as url, client_of(url) as client:
        assert client.embed(["four chars each"], soon()).tokens == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome</html>",
        b"[]",
        b'{"data": null}',
        b'{"error": {"message": "no"}}',
        answer_of([1.0]),
        answer_of([1.0], [1.0], [1.0]),
        answer_of([1.0], [1.0], indexes=[0, 0]),
        answer_of([1.0], [1.0], indexes=[1, 2]),
        answer_of([1.0], [1.0], indexes=[0, None]),
        answer_of([1.0], [1.0], indexes=[False, True]),
        answer_of([1.0, 2.0], [1.0]),
        answer_of([], []),
        answer_of([[1.0]], [[1.0]]),
        answer_of(["x"], ["y"]),
        answer_of(None, None),
        answer_of("AAA", "AAA"),
        answer_of("AACAPwA=", "AACAPwA="),
        answer_of([0.0, 0.0], [0, 0]),
        answer_of([None], [None]),
        answer_of([1e300], [1e300]),
        answer_of("AADAfw==", "AADAfw=="),
        orjson.dumps({"data": [1, 2]}),
    ],
)
def test_an_answer_that_is_not_one_usable_vector_a_text_is_an_error_of_its_batch(body: bytes) -> None:
    error = error_from(lambda _: (200, body), ["a", ROW_TEXT])

    assert isinstance(error, TransientError)
    assert error.code == "EMBEDDING_RESPONSE_INVALID"


def test_a_text_that_alone_has_no_usable_vector_is_that_texts_error() -> None:
    def answer(texts: list[str]) -> tuple[int, bytes]:
        return 200, answer_of(*([0.0] if text == ROW_TEXT else [1.0] for text in texts))

    assert error_from(answer, ["a", ROW_TEXT]).code == "EMBEDDING_VECTOR_UNUSABLE"
    with answering(answer) as url, client_of(url) as client:
        client.embed(["a"], soon())
        with pytest.raises(ItemError, match="EMBEDDING_VECTOR_UNUSABLE"):
            client.embed([ROW_TEXT], soon())


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, 1e300], [1e30, 0.0], [1e-30, 0.0], "AADAfwAAgD8="])
@pytest.mark.parametrize("others", [1, 100])
def test_one_vector_that_is_not_usable_is_found_among_few_and_many(bad: Any, others: int) -> None:
    """Lists are too long for a float32, or their squares are; the text is base64 of NaN and 1."""
    body = answer_of(bad, *[[1.0, 0.5]] * others)
    with pytest.raises(ItemError, match="EMBEDDING_VECTOR_UNUSABLE"):
        parse_reply(body, ["a"] * (others + 1), 2)


@pytest.mark.parametrize("count", [1, 100])
def test_a_reply_gives_the_same_numbers_packed_and_plain(count: int) -> None:
    reply = parse_reply(answer_of(*[[0.1, -2.0, 3e9]] * count), ["a"] * count, None)
    assert reply.vectors.shape == (count, 3)
    assert reply.first == tuple(reply.vectors[0].tolist())


def test_a_service_that_ignores_the_dimensions_stops_everything_at_once() -> None:
    error = error_from(lambda texts: (200, answer_of(*[[1.0] * 4] * len(texts))), ["a"], dimensions=3)

    assert isinstance(error, GlobalError)
    assert error.code == "EMBEDDING_DIMENSIONS_MISMATCH"


def test_vectors_that_change_their_size_later_are_an_error_of_their_batch() -> None:
    sizes = iter([3, 4])
    with answering(lambda _: (200, answer_of([1.0] * next(sizes)))) as url, client_of(url) as client:
        client.embed(["a"], soon())
        with pytest.raises(TransientError, match="EMBEDDING_DIMENSIONS_MISMATCH"):
            client.embed(["b"], soon())


def refusal(code: Any = None, kind: Any = None, param: Any = None) -> bytes:
    return orjson.dumps({"error": {"message": f"{KEY} {ROW_TEXT}", "type": kind, "param": param, "code": code}})


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, refusal(), ItemError, "EMBEDDING_TEXT_REFUSED"),
        (400, refusal(code=400), ItemError, "EMBEDDING_TEXT_REFUSED"),
        (400, refusal(code="context_length_exceeded"), ItemError, "EMBEDDING_TEXT_TOO_LONG"),
        (400, b'{"error": {"message": "maximum context length is 8192"}}', ItemError, "EMBEDDING_TEXT_TOO_LONG"),
        (400, refusal(param="dimensions"), GlobalError, "EMBEDDING_DIMENSIONS_REFUSED"),
        (400, refusal(code="model_not_found"), GlobalError, "EMBEDDING_MODEL_UNKNOWN"),
        (401, refusal(code="invalid_api_key"), GlobalError, "EMBEDDING_UNAUTHORIZED"),
        (402, b"", GlobalError, "EMBEDDING_QUOTA_EXHAUSTED"),
        (403, b"<html>Forbidden</html>", GlobalError, "EMBEDDING_UNAUTHORIZED"),
        (404, refusal(code="model_not_found"), GlobalError, "EMBEDDING_MODEL_UNKNOWN"),
        (404, b"Not Found", GlobalError, "EMBEDDING_ENDPOINT_UNKNOWN"),
        (405, b'{"error": "nope"}', GlobalError, "EMBEDDING_ENDPOINT_UNKNOWN"),
        (408, b"", TransientError, "EMBEDDING_SERVICE_FAILED"),
        (409, b"", TransientError, "EMBEDDING_SERVICE_FAILED"),
        (413, b"<html>too large</html>", TooLargeError, "PAYLOAD_TOO_LARGE"),
        (422, b'{"detail": [{"loc": ["body", "input", 3], "input": "x"}]}', ItemError, "EMBEDDING_TEXT_REFUSED"),
        (422, b'{"detail": [{"loc": ["body", "dimensions"]}]}', GlobalError, "EMBEDDING_DIMENSIONS_REFUSED"),
        (425, b"", TransientError, "EMBEDDING_SERVICE_FAILED"),
        (429, refusal(code="rate_limit_exceeded"), LimitedError, "EMBEDDING_LIMITED"),
        (429, refusal(code="insufficient_quota"), GlobalError, "EMBEDDING_QUOTA_EXHAUSTED"),
        (429, refusal(kind="insufficient_quota"), GlobalError, "EMBEDDING_QUOTA_EXHAUSTED"),
        (500, refusal(code=None), TransientError, "EMBEDDING_SERVICE_FAILED"),
        (503, b"<html>" + b"x" * 2_000_000, TransientError, "EMBEDDING_SERVICE_FAILED"),
        (529, b"[1, 2", TransientError, "EMBEDDING_SERVICE_FAILED"),
        (204, b"", TransientError, "EMBEDDING_SERVICE_FAILED"),
    ],
)
def test_every_refusal_has_its_verdict_and_repeats_nothing_confidential(
    status: int, body: bytes, kind: type[HelixError], code: str
) -> None:
    error = error_from(lambda _: (status, body), ["a", ROW_TEXT])

    assert type(error) is kind
    assert error.code == code
    assert str(status) in error.message


@pytest.mark.parametrize(("status", "kind"), [(301, GlobalError), (302, TransientError), (308, GlobalError)])
@over_every_channel
def test_a_redirect_is_not_followed(status: int, kind: type[HelixError], connect: Connect) -> None:
    asked: list[list[str]] = []

    def answer(texts: list[str]) -> tuple[int, bytes]:
        asked.append(texts)
        return status, b""

    assert type(error_from(answer, ["a"], connect=connect, location="/elsewhere")) is kind
    assert len(asked) == 1


@over_every_channel
def test_a_limit_says_how_long(connect: Connect) -> None:
    error = error_from(lambda _: (429, b""), ["a"], connect=connect, retry_after_ms="250")

    assert isinstance(error, LimitedError)
    assert error.retry_after == 0.25


@over_every_channel
def test_a_limit_that_a_proxy_hands_on_says_how_long(connect: Connect) -> None:
    headers = {"llm_provider-retry-after": "60"}
    with (
        answering(lambda _: (429, b""), headers) as url,
        connect(url) as client,
        pytest.raises(LimitedError) as caught,
    ):
        client.embed(["a"], soon())

    assert caught.value.retry_after == 60.0


@over_every_channel
def test_an_answer_of_endless_size_is_cut_off(connect: Connect) -> None:
    error = error_from(lambda _: (200, b" " * 1_000_000), ["a"], connect=connect)

    assert error.code == "EMBEDDING_RESPONSE_INVALID"
    assert "bytes" in error.message


@over_every_channel
def test_a_compressed_answer_that_is_none_is_an_error_of_its_batch(connect: Connect) -> None:
    error = error_from(lambda _: (200, b"not gzip"), ["a"], connect=connect, content_encoding="gzip")

    assert isinstance(error, TransientError)


def test_half_a_surrogate_pair_is_that_texts_error(fake: FakeEmbeddingService) -> None:
    with client_of(fake.url) as client, pytest.raises(ItemError, match="TEXT_NOT_UNICODE"):
        client.embed(["\ud800"], soon())
    assert fake.counters().requests == 0


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server below HTTP: `talk` gets each connection once something has arrived on it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                try:
                    talk(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=10)


def drip(start: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.02)

    return talk


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nx-name: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"])
@over_every_channel
def test_a_dripping_server_holds_a_request_no_longer_than_its_deadline(start: bytes, connect: Connect) -> None:
    with talking(drip(start)) as url, connect(url) as client:
        begun = time.monotonic()
        with pytest.raises(TransientError, match="EMBEDDING_TIMEOUT"):
            client.embed(["a"], begun + 0.3)
        assert time.monotonic() - begun < 10, "1000 drops would take 20 s"


@over_every_channel
def test_a_silent_server_is_left_after_the_clients_own_timeout(connect: Connect) -> None:
    with (
        running_fake(latency=30) as fake,
        connect(fake.url, timeout=0.2) as client,
        pytest.raises(TransientError, match="EMBEDDING_TIMEOUT"),
    ):
        client.embed(["a"], soon())


@over_every_channel
def test_a_request_whose_deadline_has_passed_is_not_sent(fake: FakeEmbeddingService, connect: Connect) -> None:
    with connect(fake.url) as client, pytest.raises(TransientError, match="EMBEDDING_TIMEOUT"):
        client.embed(["a"], time.monotonic() - 1)
    assert fake.counters().requests == 0


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


@pytest.mark.parametrize(
    "talk",
    [
        reset,
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"),
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
    ],
)
@over_every_channel
def test_a_broken_connection_is_transient(talk: Callable[[socket.socket], None], connect: Connect) -> None:
    with (
        talking(talk) as url,
        connect(url) as client,
        pytest.raises(TransientError, match="EMBEDDING_CONNECTION_LOST"),
    ):
        client.embed(["a"], soon())


def test_a_server_that_is_not_there_is_transient_and_named_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with client_of(f"http://user:hunter2@127.0.0.1:{port}/v1") as client, pytest.raises(TransientError) as caught:
        client.embed(["a"], soon())

    assert caught.value.code == "EMBEDDING_UNREACHABLE"
    assert f"127.0.0.1:{port}/v1/embeddings" in caught.value.message
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_the_same_to_a_lean_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with lean_client_of(f"http://127.0.0.1:{port}/v1") as client, pytest.raises(TransientError) as caught:
        client.embed(["a"], soon())
    assert caught.value.code == "EMBEDDING_UNREACHABLE"
    assert f"127.0.0.1:{port}/v1/embeddings" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/v1",
        "http://10.0.0.1/v1",
        "http://user:word@127.0.0.1/v1",
        "http://127.0.0.1/v1?version=2",
        "http://127.0.0.1:port/v1",
        "127.0.0.1/v1",
        "",
    ],
)
def test_only_plain_addresses_of_this_machine_are_for_the_lean_client(url: str) -> None:
    assert loopback_channel(url, None) is None


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    fake: FakeEmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    with client_of(fake.url) as client:
        assert client.embed(["a"], soon()).requests == 1


def test_a_proxy_of_the_environment_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxy(scope: Any, _receive: Any, send: Any) -> None:
        asked.append(dict(scope["headers"])[b"host"].decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer_of([1.0])})

    with running_app(proxy) as origin:
        monkeypatch.setenv("http_proxy", origin)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with client_of("http://embeddings.invalid/v1") as client:
            client.embed(["a"], soon())

    assert asked == ["embeddings.invalid"]


def test_a_proxy_that_does_not_speak_http_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(SetupError, match="PROXY_UNSUPPORTED"):
        EmbeddingClient("https://embeddings.invalid/v1", None, "m", None, max_connections=1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
def test_a_certificate_has_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-out", str(certificate), "-keyout", str(key)], check=True, stderr=subprocess.DEVNULL
    )
    app = EmbeddingServiceApp(Behaviour())
    with running_app(app, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as origin:
        url = f"{origin.replace('http', 'https')}/v1"
        with client_of(url) as client, pytest.raises(GlobalError, match="EMBEDDING_CERTIFICATE_INVALID"):
            client.embed(["a"], soon())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with client_of(url) as client:
            assert client.embed(["a"], soon()).requests == 1


@pytest.mark.parametrize("url", ["", "ftp://host/v1", "host/v1", "http://", "http://host:port/v1"])
def test_an_address_that_cannot_be_asked_is_refused_at_once(url: str) -> None:
    with pytest.raises(SetupError, match="HELIX_EMBEDDING_URL"):
        EmbeddingClient(url, None, "m", None, max_connections=1)


@pytest.mark.parametrize("key", ["", "  ", "schlüssel", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SetupError, match="HELIX_EMBEDDING_API_KEY") as caught:
        EmbeddingClient("http://127.0.0.1/v1", Secret(key), "m", None, max_connections=1)
    assert "schlüssel" not in str(caught.value)


@over_every_channel
def test_the_key_is_sent_as_a_bearer_token_without_white_space_around_it(connect: Connect) -> None:
    with running_fake(api_key=KEY) as fake, connect(fake.url) as client:
        assert client.embed(["a"], soon()).requests == 1


def test_another_transport_can_be_put_in() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=answer_of([1.0])))
    with client_of("http://host/v1", transport=transport) as client:
        assert client.embed(["a"], soon()).vectors.tolist() == [[1.0]]
