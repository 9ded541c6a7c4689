"""A fake embedding service: OpenAI's protocol over loopback HTTP, vectors made of the text's hash, counters, faults on
demand.

As a process of its own, for benchmarks and for tests that kill things; it prints one JSON line with its URL:

    python -m helix_pipelines_tests.fakes.embedding_service --port 0 --latency-ms 20 --per-text-ms 0.2 --dimensions 384

In a test: `with running_fake(latency=0.02) as fake: EmbeddingClient(fake.url, ...)`.

Beside `/v1/embeddings` and `/v1/models` it answers GET `/counters`, POST `/reset` (counters and behaviour as at the
start) and POST `/faults`, whose JSON object changes the named fields of `Behaviour`. A new fault is a field there and
one line in `_refusal` or `_embed`.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import orjson
import uvicorn

from helix_pipelines_tests.fakes.behaviour import Behaviour, Counters
from helix_pipelines_tests.fakes.hashed_vectors import hashed_vectors

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class EmbeddingServiceApp:
    """The ASGI application; all of it runs on one event loop, so that counters need no lock."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._initial = msgspec.structs.replace(behaviour)
        self._reset()

    def _reset(self) -> None:
        self.behaviour = msgspec.structs.replace(self._initial)
        self.counters = Counters()
        self._seen: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        match scope["method"], scope["path"]:
            case "POST", "/v1/embeddings":
                status, answer, headers = await self._counted(scope, body)
            case "GET", "/v1/models":
                name = self.behaviour.model or "fake"
                status, answer, headers = 200, orjson.dumps({"object": "list", "data": [{"id": name}]}), []
            case "GET", "/counters":
                status, answer, headers = 200, msgspec.json.encode(self.counters), []
            case "POST", "/reset":
                self._reset()
                status, answer, headers = 200, b"{}", []
            case "POST", "/faults":
                status, answer, headers = self._change(body)
            case _:
                status, answer, headers = _error(404, "no such route")
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer)), *headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _counted(self, scope: Scope, body: bytes) -> Answer:
        counters = self.counters
        counters.requests += 1
        counters.in_flight += 1
        counters.in_flight_peak = max(counters.in_flight_peak, counters.in_flight)
        try:
            answer = await self._embeddings(scope, body)
        finally:
            counters.in_flight -= 1
        counters.statuses[answer[0]] = counters.statuses.get(answer[0], 0) + 1
        return answer

    async def _embeddings(self, scope: Scope, body: bytes) -> Answer:
        started = time.perf_counter()
        behaviour = self.behaviour
        try:
            payload = orjson.loads(body)
            texts = [payload["input"]] if isinstance(payload["input"], str) else payload["input"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _error(400, "the body is not a JSON object with `input`")
        refusal = self._refusal(scope, payload, texts)
        answer = _embed(texts, payload, behaviour) if refusal is None else refusal
        busy = time.perf_counter() - started
        await asyncio.sleep(max(0.0, behaviour.latency + behaviour.per_text * len(texts) - busy))
        if refusal is None:
            self._count(texts)
        return answer

    def _refusal(self, scope: Scope, payload: dict[str, Any], texts: list[str]) -> Answer | None:
        """Whatever is wrong: the service itself first, then the caller, then what was sent."""
        return self._outage() or self._denial(scope, payload) or self._objection(payload, texts)

    def _outage(self) -> Answer | None:
        behaviour = self.behaviour
        if behaviour.status is None or behaviour.status_requests == 0:
            return None
        if behaviour.status_requests is not None:
            behaviour.status_requests -= 1
        headers = [(b"retry-after", behaviour.retry_after.encode())] if behaviour.retry_after is not None else []
        return _error(behaviour.status, "switched on by /faults", behaviour.status_code, headers)

    def _denial(self, scope: Scope, payload: dict[str, Any]) -> Answer | None:
        behaviour = self.behaviour
        if behaviour.api_key is not None:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if given != b"Bearer " + behaviour.api_key.encode():
                return _error(401, "Incorrect API key provided", "invalid_api_key")
        if behaviour.model is not None and payload.get("model") != behaviour.model:
            return _error(404, "The model does not exist", "model_not_found")
        return None

    def _objection(self, payload: dict[str, Any], texts: list[Any]) -> Answer | None:
        behaviour = self.behaviour
        if len(texts) > behaviour.max_texts:
            return _error(413, "too many texts")
        if behaviour.refuses_base64 and payload.get("encoding_format") == "base64":
            return _error(400, "unsupported encoding")
        if not texts or any(not isinstance(text, str) or not text for text in texts):
            return _error(400, "'$.input' is invalid")
        if behaviour.poison is not None and any(behaviour.poison in text for text in texts):
            return _error(400, "'$.input' is invalid")
        return None

    def _count(self, texts: list[str]) -> None:
        hashes = [hash(text) for text in texts]
        before = len(self._seen)
        self._seen.update(hashes)
        counters = self.counters
        counters.answered += 1
        counters.texts += len(texts)
        counters.tokens += _tokens(texts)
        counters.texts_seen_twice += len(texts) - (len(self._seen) - before)

    def _change(self, body: bytes) -> Answer:
        try:
            changes = orjson.loads(body)
            merged = msgspec.structs.asdict(self.behaviour) | changes
            self.behaviour = msgspec.convert(merged, Behaviour)
        except (orjson.JSONDecodeError, msgspec.ValidationError, TypeError) as error:
            return _error(400, str(error))
        unknown = set(changes) - set(Behaviour.__struct_fields__)
        if unknown:
            return _error(400, f"no such fault: {', '.join(sorted(unknown))}")
        return 200, msgspec.json.encode(self.behaviour), []


Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
"""Status, body, further headers."""


def _embed(texts: list[str], payload: dict[str, Any], behaviour: Behaviour) -> Answer:
    vectors = hashed_vectors(payload.get("dimensions", behaviour.dimensions))
    wants_base64 = payload.get("encoding_format") == "base64" and not behaviour.ignores_base64
    embeddings = vectors.base64(texts) if wants_base64 else vectors.numbers(texts)
    row = b'{"object":"embedding","index":%d,"embedding":%b}'
    tokens = _tokens(texts)
    head = b'{"object":"list","model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d},"data":['
    parts = [head % (orjson.dumps(payload.get("model")), tokens, tokens)]
    parts.append(b",".join([row % numbered for numbered in enumerate(embeddings)]))
    parts.append(b"]}")
    return 200, b"".join(parts), []


def _tokens(texts: list[str]) -> int:
    return sum(len(text) // 4 + 1 for text in texts)


def _error(
    status: int, message: str, code: str | None = None, headers: list[tuple[bytes, bytes]] | None = None
) -> Answer:
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return status, orjson.dumps(body), headers or []


async def _read_body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


class FakeEmbeddingService:
    """A running fake, seen from a test or a benchmark."""

    def __init__(self, origin: str) -> None:
        self._control = httpx.Client(base_url=origin, trust_env=False)
        self.url = f"{origin}/v1"
        """What `HELIX_EMBEDDING_URL` would be set to."""

    def counters(self) -> Counters:
        return msgspec.json.decode(self._control.get("/counters").content, type=Counters)

    def set_faults(self, **changes: Any) -> None:
        """Change fields of `Behaviour`, from the next request on."""
        self._control.post("/faults", json=changes).raise_for_status()

    def reset(self) -> None:
        """Counters to zero, behaviour as at the start."""
        self._control.post("/reset").raise_for_status()

    def close(self) -> None:
        self._control.close()


@contextmanager
def running_app(app: Any, **options: Any) -> Iterator[str]:
    """Serve any ASGI application on a free loopback port in a thread, and give its origin; `options` are uvicorn's."""
    listener = _listen(0)
    server = _server(app, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
        listener.close()


@contextmanager
def running_fake(**behaviour: Any) -> Iterator[FakeEmbeddingService]:
    """A fake in a thread of this process; the arguments are fields of `Behaviour`."""
    with running_app(EmbeddingServiceApp(Behaviour(**behaviour))) as origin:
        fake = FakeEmbeddingService(origin)
        try:
            yield fake
        finally:
            fake.close()


@contextmanager
def running_fake_process(**options: float | str) -> Iterator[FakeEmbeddingService]:
    """A fake in a process of its own, which takes no time of the caller's interpreter.

    The arguments are the command line's, such as `latency_ms=20`.
    """
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "helix_pipelines_tests.fakes.embedding_service", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            fake = FakeEmbeddingService(orjson.loads(process.stdout.readline())["origin"])
            yield fake
            fake.close()
        finally:
            process.terminate()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def _server(app: Any, **options: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        **options,
    )
    return uvicorn.Server(config)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="Fake embedding service on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--per-text-ms", type=float, default=0.0)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--api-key")
    options = parser.parse_args()
    behaviour = Behaviour(
        dimensions=options.dimensions,
        latency=options.latency_ms / 1000,
        per_text=options.per_text_ms / 1000,
        api_key=options.api_key,
    )
    listener = _listen(options.port)
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(orjson.dumps({"url": f"{origin}/v1", "origin": origin}).decode(), flush=True)  # noqa: T201 - the contract
    _server(EmbeddingServiceApp(behaviour)).run(sockets=[listener])


if __name__ == "__main__":
    main()
