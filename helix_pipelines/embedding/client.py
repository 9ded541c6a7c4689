"""Texts to vectors over any service that speaks OpenAI's embeddings API; one pool of connections for many threads."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from helix_pipelines.embedding.api import EmbeddingApi
from helix_pipelines.embedding.channel import (
    HEADERS,
    Response,
    authorization,
    connection_lost,
    timed_out,
    unreachable,
)
from helix_pipelines.resilience.deadline import DEADLINE, DeadlineTransport, environment_proxy
from helix_pipelines.resilience.errors import GlobalError, HelixError, SetupError
from helix_pipelines.settings import LOCAL_HOSTS, Secret

KEEPALIVE_EXPIRY = 4.0
"""Seconds: below the 5 s after which common servers (uvicorn, Node) close an idle connection under a new request."""


class EmbeddingClient(EmbeddingApi):
    """Embeds batches of texts. Threads may share one client; each call is one request in flight.

    `endpoint_url` is the API's base, such as `https://api.openai.com/v1`; see `EmbeddingApi` for the rest.

    Raises SetupError (SETTING_INVALID, PROXY_UNSUPPORTED) for an address, key or proxy that cannot be used.
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
        channel = PooledChannel(endpoint_url, api_key, max_connections, transport)
        super().__init__(channel, model, dimensions, timeout=timeout)


class PooledChannel:
    """Up to `max_connections` connections that are kept alive, over TLS and the environment's proxy where they apply."""

    def __init__(
        self, endpoint_url: str, api_key: Secret | None, max_connections: int, transport: httpx.BaseTransport | None
    ) -> None:
        base = _base_url(endpoint_url)
        self._url = base.copy_with(username=None, password=None, path=base.path.rstrip("/") + "/embeddings")
        self.where = str(self._url.copy_with(query=None, fragment=None))
        self._http = httpx.Client(
            headers=HEADERS if api_key is None else {**HEADERS, "authorization": authorization(api_key)},
            auth=(base.username, base.password) if base.username and api_key is None else None,
            transport=transport or _pooled_transport(self._url, max_connections),
            trust_env=False,
            follow_redirects=False,
        )

    @contextmanager
    def post(self, body: bytes, deadline: float) -> Iterator[Response]:
        """Send a request whose answer is read inside the block, all of it by `deadline`."""
        request = self._http.build_request("POST", self._url, content=body, extensions={DEADLINE: deadline})
        try:
            response = self._http.send(request, stream=True)
            try:
                yield Response(response.status_code, response.headers, response.iter_bytes())
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._connection_error(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _connection_error(self, error: Exception) -> HelixError:
        if isinstance(error, httpx.TimeoutException):
            return timed_out(self.where)
        if _is_certificate_error(error):
            return GlobalError(
                "EMBEDDING_CERTIFICATE_INVALID",
                f"The certificate of {self.where} is not trusted. Name your authority's file in SSL_CERT_FILE, or"
                f" correct"
                f" HELIX_EMBEDDING_URL.",
            )
        if isinstance(error, httpx.ConnectError):
            return unreachable(self.where)
        return connection_lost(self.where, error)


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


def _pooled_transport(url: httpx.URL, max_connections: int) -> DeadlineTransport:
    proxy = None if url.host in LOCAL_HOSTS else environment_proxy(url)
    return DeadlineTransport(max_connections=max_connections, keepalive_expiry=KEEPALIVE_EXPIRY, proxy=proxy)


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
