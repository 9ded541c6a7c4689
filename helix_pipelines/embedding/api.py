"""OpenAI's embeddings API: what is sent, which answers are believed, and what a refusal means, over any channel.

The module loads neither numpy nor an HTTP library: `helix search` has 0.5 s for everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import orjson

from helix_pipelines.embedding.channel import Channel, Response
from helix_pipelines.embedding.reply import EmbeddingReply, UnusableVectorsError, WrongDimensionsError, parse_reply
from helix_pipelines.resilience.errors import GlobalError, HelixError, ItemError, TimedOutError, TransientError
from helix_pipelines.resilience.rate_headers import RateHeaders, read_rate_headers

SERVICE = "embedding"
"""The service's name in gates and usage."""
HTTP_OK = 200
MAX_ERROR_BYTES = 64 * 1024
"""Of a refusal's body: error pages say nothing after that."""
MAX_VECTOR_BYTES = 256 * 1024
"""Of an answer for each text: 8,192 dimensions written as long floats."""
PROBE = ("Helix",)
"""A text that no service can object to, to find out whether it objects to base64, or to every request."""


class EmbeddingApi:
    """Embeds batches of texts. Threads may share one; each call is one request in flight.

    `dimensions` is asked for where it is set, and every vector must have that size; where it is None the size of the
    first answer is what the following must have. `timeout` is seconds for a whole request, from connecting to the last
    byte. Leaving its block closes the channel.
    """

    def __init__(self, channel: Channel, model: str, dimensions: int | None, *, timeout: float) -> None:
        self._channel = channel
        self._model = model
        self._asked_dimensions = dimensions
        self._dimensions = dimensions
        self._has_answered = False
        self._timeout = timeout
        self._accepts_base64: bool | None = None
        self._settling = threading.Lock()

    def embed(self, texts: Sequence[str], deadline: float) -> EmbeddingReply:
        """Return the vectors of `texts`, sent as one request that ends by `deadline` (a moment of `time.monotonic()`).

        A service that refuses base64 is found out once, by one more request, and then asked for plain numbers. One that has
        never answered and refuses a harmless word too does not mean the text: GlobalError (EMBEDDING_REQUESTS_REFUSED).

        Raises ItemError (a text or the size of the request is refused), LimitedError, TransientError (also for an
        answer that is malformed: EMBEDDING_RESPONSE_INVALID) or GlobalError. Nothing is repeated here: see
        `resilience.retry`.
        """
        if not texts:
            raise ValueError("a request needs at least one text")
        try:
            return self._request(texts, deadline, as_base64=self._accepts_base64 is not False)
        except ItemError as error:
            if not self._may_mean_the_request(error, texts):
                raise
            if self._settle_base64(deadline):
                raise
            return self._retry_plainly(texts, deadline)

    def close(self) -> None:
        """Close all connections."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _may_mean_the_request(self, error: ItemError, texts: Sequence[str]) -> bool:
        """Whether a refusal may be of base64, or of what all requests have in common, and not of a text.

        Only asked until the service has answered once, and only for a single text: bisecting gets there before any text is
        given up, and by then another part of the batch has usually been embedded.
        """
        return not self._has_answered and len(texts) == 1 and error.code == "EMBEDDING_TEXT_REFUSED"

    def _settle_base64(self, deadline: float) -> bool:
        """Find out whether the service takes `encoding_format: base64`, with a text that cannot be the reason."""
        with self._settling:
            if self._accepts_base64 is None:
                try:
                    self._request(PROBE, deadline, as_base64=True)
                except ItemError:
                    self._accepts_base64 = False
            return self._accepts_base64 is True

    def _retry_plainly(self, texts: Sequence[str], deadline: float) -> EmbeddingReply:
        """The second and last try of a text that was refused, after the probe: without base64."""
        try:
            reply = self._request(texts, deadline, as_base64=False)
        except ItemError:
            self._refuse_to_blame_texts(deadline)
            raise
        return replace(reply, requests=reply.requests + 2)

    def _refuse_to_blame_texts(self, deadline: float) -> None:
        """Raise GlobalError where the probe is refused whatever its form.

        The litellm proxy answers 400 with `"param": null` whether it means the model, the key or the dimensions. Every text
        would be given up for a wrong setting.
        """
        try:
            self._request(PROBE, deadline, as_base64=False)
        except ItemError as error:
            self._accepts_base64 = None
            dimensions = "" if self._asked_dimensions is None else ", leave out HELIX_EMBEDDING_DIMENSIONS"
            raise GlobalError(
                "EMBEDDING_REQUESTS_REFUSED",
                f"The embedding service refuses every text, a plain word too: {error.message} Check HELIX_EMBEDDING_MODEL and"
                f" HELIX_EMBEDDING_API_KEY{dimensions}, or look into the service's log for what it objects to. No embedding"
                f" request is sent until that is put right.",
            ) from error

    def _request(self, texts: Sequence[str], deadline: float, *, as_base64: bool) -> EmbeddingReply:
        began = time.monotonic()
        body, rate = self._post(self._payload(texts, as_base64=as_base64), len(texts), deadline)
        try:
            reply = parse_reply(body, texts, self._dimensions)
        except WrongDimensionsError as error:
            if self._has_answered:
                raise
            raise GlobalError(error.code, error.message) from error
        except UnusableVectorsError as error:
            if self._has_answered and len(texts) == 1:
                raise ItemError("EMBEDDING_VECTOR_UNUSABLE", "The embedding service cannot embed the text.") from error
            raise
        self._dimensions = reply.dimensions
        self._has_answered = True
        if as_base64:
            self._accepts_base64 = True
        return replace(reply, rate=rate, seconds=time.monotonic() - began)

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

    def _post(self, payload: bytes, texts: int, deadline: float) -> tuple[bytes, RateHeaders]:
        """The body of the answer with status 200, and its limits; every other outcome is an error."""
        limit = min(deadline, time.monotonic() + self._timeout)
        if time.monotonic() >= limit:
            raise TimedOutError("EMBEDDING_TIMEOUT", "The deadline had passed before the request was sent.")
        with self._channel.post(payload, limit) as response:
            if response.status != HTTP_OK:
                raise self._refusal(response)
            rate = read_rate_headers(response.headers)
            body, is_whole = _bounded(response, MAX_ERROR_BYTES + texts * MAX_VECTOR_BYTES)
        if not is_whole:
            raise TransientError(
                "EMBEDDING_RESPONSE_INVALID",
                f"{self._channel.where} sent more than {len(body)} bytes for {texts} texts. It is asked again; check what"
                f" answers there.",
            )
        return body, rate

    def _refusal(self, response: Response) -> HelixError:
        from helix_pipelines.embedding.refusals import Refusal, refusal_error

        body, _ = _bounded(response, MAX_ERROR_BYTES)
        return refusal_error(
            Refusal(response.status, response.headers, body, time.time()), self._channel.where, self._model
        )


def _bounded(response: Response, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a body up to about `limit`, and whether that is all of it."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.chunks:
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"".join(chunks)[:limit], False
    return b"".join(chunks), True
