"""Texts to vectors over any service that speaks OpenAI's embeddings API; one HTTP client for many threads."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from helix_pipelines.embedding.batching import estimate_tokens
from helix_pipelines.embedding.refusals import Refusal, refusal_error
from helix_pipelines.embedding.reply import EmbeddingReply, UnusableVectorsError, WrongDimensionsError, parse_reply
from helix_pipelines.resilience.deadline import DEADLINE, DeadlineTransport, environment_proxy
from helix_pipelines.resilience.errors import GlobalError, HelixError, ItemError, SetupError, TransientError
from helix_pipelines.settings import LOCAL_HOSTS, Secret

KEEPALIVE_EXPIRY = 4.0
"""Seconds: below the 5 s after which common servers (uvicorn, Node) close an idle connection under a new request."""
MAX_ERROR_BYTES = 64 * 1024
"""Of a refusal's body: error pages say nothing after that."""
MAX_VECTOR_BYTES = 256 * 1024
"""Of an answer for each text: 8,192 dimensions written as long floats."""
PROBE = ("Helix",)
"""A text that no service can object to, to find out whether it objects to base64."""


class EmbeddingClient:
    """Embeds batches of texts. Threads may share one client; each call is one request in flight.

    `endpoint_url` is the API's base, such as `https://api.openai.com/v1`. `dimensions` is asked for where it is set,
    and every vector must have that size; where it is None the size of the first answer is what the following must have.
    `timeout` is seconds for a whole request, from connecting to the last byte.

    Raises SetupError (SETTING_INVALID) for an address or key that cannot be used.
    """

    def __init__(
        self,
        endpoint_url: str,
        api_key: Secret | None,
        model: str,
        dimensions: int | None,
        *,
        timeout: float = 60.0,
        max_connections: int,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        base = _base_url(endpoint_url)
        self._url = base.copy_with(username=None, password=None, path=base.path.rstrip("/") + "/embeddings")
        self._where = str(self._url.copy_with(query=None, fragment=None))
        self._model = model
        self._asked_dimensions = dimensions
        self._dimensions = dimensions
        self._has_answered = False
        self._timeout = timeout
        self._accepts_base64: bool | None = None
        self._settling = threading.Lock()
        headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {_header_text(api_key)}"
        self._http = httpx.Client(
            headers=headers,
            auth=(base.username, base.password) if base.username and api_key is None else None,
            transport=transport or _pooled_transport(self._url, max_connections),
            trust_env=False,
            follow_redirects=False,
        )

    def embed(self, texts: Sequence[str], deadline: float) -> EmbeddingReply:
        """Return the vectors of `texts`, sent as one request that ends by `deadline` (a moment of `time.monotonic()`).

        A service that refuses base64 is found out once, by one more request, and then asked for plain numbers.

        Raises ItemError (a text or the size of the request is refused), LimitedError, TransientError (also for an
        answer that is malformed: EMBEDDING_RESPONSE_INVALID) or GlobalError. Nothing is repeated here: see
        `resilience.retry`.
        """
        if not texts:
            raise ValueError("a request needs at least one text")
        try:
            return self._request(texts, deadline, as_base64=self._accepts_base64 is not False)
        except ItemError as error:
            if not self._may_mean_base64(error, texts):
                raise
            if self._settle_base64(deadline):
                raise
            reply = self._request(texts, deadline, as_base64=False)
            return replace(reply, requests=reply.requests + 2)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _may_mean_base64(self, error: ItemError, texts: Sequence[str]) -> bool:
        """Whether a refusal may be of base64 and not of a text.

        Only asked until an answer settled it, and only for a single text: bisecting gets there before any text is given
        up, and by then another part of the batch has usually been embedded.
        """
        return self._accepts_base64 is None and len(texts) == 1 and error.code == "EMBEDDING_TEXT_REFUSED"

    def _settle_base64(self, deadline: float) -> bool:
        """Find out whether the service takes `encoding_format: base64`, with a text that cannot be the reason."""
        with self._settling:
            if self._accepts_base64 is None:
                try:
                    self._request(PROBE, deadline, as_base64=True)
                except ItemError:
                    self._accepts_base64 = False
            return self._accepts_base64 is True

    def _request(self, texts: Sequence[str], deadline: float, *, as_base64: bool) -> EmbeddingReply:
        body = self._post(self._payload(texts, as_base64=as_base64), len(texts), deadline)
        try:
            vectors, tokens = parse_reply(body, len(texts), self._dimensions)
        except WrongDimensionsError as error:
            if self._has_answered:
                raise
            raise GlobalError(error.code, error.message) from error
        except UnusableVectorsError as error:
            if self._has_answered and len(texts) == 1:
                raise ItemError("EMBEDDING_VECTOR_UNUSABLE", "The embedding service cannot embed the text.") from error
            raise
        self._dimensions = vectors.shape[1]
        self._has_answered = True
        if as_base64:
            self._accepts_base64 = True
        if tokens is None:
            tokens = sum(map(estimate_tokens, texts))
        return EmbeddingReply(vectors, tokens, requests=1)

    def _payload(self, texts: Sequence[str], *, as_base64: bool) -> bytes:
        payload: dict[str, Any] = {"model": self._model, "input": list(texts)}
        if as_base64:
            payload["encoding_format"] = "base64"
        if self._asked_dimensions is not None:
            payload["dimensions"] = self._asked_dimensions
        try:
            return orjson.dumps(payload)
        except orjson.JSONEncodeError as error:
            raise ItemError(
                "TEXT_NOT_UNICODE", "A text holds half a surrogate pair, which no UTF-8 request can carry."
            ) from error

    def _post(self, payload: bytes, texts: int, deadline: float) -> bytes:
        """The body of the answer with status 200; every other outcome is an error."""
        limit = min(deadline, time.monotonic() + self._timeout)
        if time.monotonic() >= limit:
            raise TransientError("EMBEDDING_TIMEOUT", "The deadline had passed before the request was sent.")
        request = self._http.build_request("POST", self._url, content=payload, extensions={DEADLINE: limit})
        try:
            response = self._http.send(request, stream=True)
            try:
                return self._read(response, texts)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._connection_error(error) from error

    def _read(self, response: httpx.Response, texts: int) -> bytes:
        if response.status_code != httpx.codes.OK:
            body, _ = _bounded(response, MAX_ERROR_BYTES)
            raise refusal_error(
                Refusal(response.status_code, response.headers, body, time.time()), self._where, self._model
            )
        body, is_whole = _bounded(response, MAX_ERROR_BYTES + texts * MAX_VECTOR_BYTES)
        if not is_whole:
            raise TransientError(
                "EMBEDDING_RESPONSE_INVALID",
                f"{self._where} sent more than {len(body)} bytes for {texts} texts. It is asked again; check what"
                f" answers there.",
            )
        return body

    def _connection_error(self, error: Exception) -> HelixError:
        if isinstance(error, httpx.TimeoutException):
            return TransientError("EMBEDDING_TIMEOUT", f"{self._where} did not answer in full by the deadline.")
        if _is_certificate_error(error):
            return GlobalError(
                "EMBEDDING_CERTIFICATE_INVALID",
                f"The certificate of {self._where} is not trusted. Name your authority's file in SSL_CERT_FILE, or"
                f" correct"
                f" HELIX_EMBEDDING_URL.",
            )
        if isinstance(error, httpx.ConnectError):
            return TransientError(
                "EMBEDDING_UNREACHABLE",
                f"Nothing accepts connections at {self._where}. Is the service running, and HELIX_EMBEDDING_URL right?",
            )
        return TransientError(
            "EMBEDDING_CONNECTION_LOST", f"The connection to {self._where} broke ({type(error).__name__})."
        )


def _base_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise SetupError("SETTING_INVALID", "HELIX_EMBEDDING_URL is not a URL. Example: https://host/v1") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise SetupError(
            "SETTING_INVALID", "HELIX_EMBEDDING_URL has to start with http:// or https:// and name a host."
        )
    return url


def _header_text(api_key: Secret) -> str:
    text = api_key.reveal().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise SetupError("SETTING_INVALID", "HELIX_EMBEDDING_API_KEY is empty or holds characters that no key has.")
    return text


def _pooled_transport(url: httpx.URL, max_connections: int) -> DeadlineTransport:
    proxy = None if url.host in LOCAL_HOSTS else environment_proxy(url)
    return DeadlineTransport(max_connections=max_connections, keepalive_expiry=KEEPALIVE_EXPIRY, proxy=proxy)


def _bounded(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a body up to about `limit`, and whether that is all of it."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(chunks)[:limit], False
    return b"".join(chunks), True


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
