"""What is asked of an embedding service and answered by it, as bytes of OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.hashed_vectors import HashedVectors, hashed_vectors

Header = tuple[bytes, bytes]


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = b"application/json"
    cut_after: int | None = None
    """The connection ends after so many bytes of the body."""


class Ask(NamedTuple):
    """One request for embeddings."""

    payload: dict[str, Any]
    texts: list[str]
    tokens: int
    well_formed: bool
    """There are texts, and each is one that is not empty; otherwise nothing of it is charged as tokens."""


def parse(body: bytes) -> Ask | None:
    """The request in a body; None if it is not a JSON object with `input`."""
    try:
        payload = orjson.loads(body)
        given = payload["input"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    texts = given if isinstance(given, list) else [given]
    well_formed = bool(texts) and all(isinstance(text, str) and text for text in texts)
    return Ask(
        payload,
        texts if well_formed else [str(text) for text in texts],
        count_tokens(texts) if well_formed else 0,
        well_formed,
    )


def count_tokens(texts: list[str]) -> int:
    """Four characters are about a token of English."""
    return sum([len(text) // 4 + 1 for text in texts])


def error(
    status: int, message: str, code: str | None = None, headers: tuple[Header, ...] = (), kind: str | None = None
) -> Answer:
    """An error in OpenAI's form; `kind` is its `type`."""
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, orjson.dumps(body), headers)


def embed(ask: Ask, behaviour: Behaviour) -> Answer:
    """The right answer."""
    return Answer(200, listing(ask, enumerate(encoded(ask, behaviour, vectors_for(ask, behaviour)))))


def vectors_for(ask: Ask, behaviour: Behaviour) -> HashedVectors:
    """The vectors of the size that was asked for; ValueError if there are none of that size."""
    if behaviour.ignores_dimensions:
        return hashed_vectors(behaviour.dimensions)
    return hashed_vectors(ask.payload.get("dimensions", behaviour.dimensions))


def wants_base64(ask: Ask, behaviour: Behaviour) -> bool:
    """Whether the answer is in base64."""
    return ask.payload.get("encoding_format") == "base64" and not behaviour.ignores_base64


def encoded(ask: Ask, behaviour: Behaviour, vectors: HashedVectors) -> list[bytes]:
    """The JSON of each text's vector in the form that was asked for."""
    return vectors.base64(ask.texts) if wants_base64(ask, behaviour) else vectors.numbers(ask.texts)


def listing(ask: Ask, numbered: Iterable[tuple[int, bytes]]) -> bytes:
    """The body around vectors with their indexes."""
    row = b'{"object":"embedding","index":%d,"embedding":%b}'
    head = b'{"object":"list","model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d},"data":['
    return b"".join(
        [
            head % (orjson.dumps(ask.payload.get("model")), ask.tokens, ask.tokens),
            b",".join([row % pair for pair in numbered]),
            b"]}",
        ]
    )
