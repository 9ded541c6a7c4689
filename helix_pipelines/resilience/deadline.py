"""An HTTP transport that holds a whole request to one deadline, however slowly the other side talks.

httpx's timeouts are per read: a server that sends one byte every few seconds, in the headers or in the body, holds a
worker for ever. Here every connect, handshake, write and read of a request gets only what is left until the request's
deadline. Name resolution alone is outside, as the operating system's resolver cannot be interrupted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from helix_pipelines.resilience.errors import SetupError

DEADLINE = "deadline"
"""Key in a request's `extensions`: the moment, on the transport's clock, at which the request has to be over."""

Clock = Callable[[], float]

_CORE_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


class DeadlineTransport(httpx.BaseTransport):
    """A pool of keep-alive connections, for many threads, whose requests each carry a `DEADLINE` extension.

    A request is sent and its response read in one thread: the deadline of the thread's current request is what its
    connection obeys. Raises the exceptions of httpx, a timeout as `httpx.TimeoutException`.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        keepalive_expiry: float,
        proxy: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._remaining = _Remaining(clock)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            proxy=httpcore.Proxy(proxy) if proxy else None,
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=keepalive_expiry,
            network_backend=_DeadlineBackend(self._remaining),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; its body is still to be read by the caller, in the same thread."""
        self._remaining.until(request.extensions[DEADLINE])
        extensions = {**request.extensions, "timeout": {"pool": self._remaining.seconds(httpcore.PoolTimeout)}}
        core = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=cast("Iterable[bytes]", request.stream),
            extensions=extensions,
        )
        with _errors_of_httpx():
            response = self._pool.handle_request(core)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_BodyStream(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _BodyStream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Remaining(threading.local):
    """How much time the current thread's request has left."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline = 0.0

    def until(self, deadline: float) -> None:
        self._deadline = deadline

    def seconds(self, error: type[httpcore.TimeoutException]) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            with _errors_of_httpx():
                raise error("the request's deadline has passed")
        return left


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, remaining: _Remaining) -> None:
        self._remaining = remaining
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._remaining.seconds(httpcore.ConnectTimeout)
        return _DeadlineStream(
            self._sockets.connect_tcp(host, port, left, local_address, socket_options), self._remaining
        )


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, remaining: _Remaining) -> None:
        self._stream = stream
        self._remaining = remaining

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline decides
        return self._stream.read(max_bytes, self._remaining.seconds(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline decides
        self._stream.write(buffer, self._remaining.seconds(httpcore.WriteTimeout))

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
    ) -> httpcore.NetworkStream:
        left = self._remaining.seconds(httpcore.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._remaining)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """Raise httpcore's errors as those of httpx, which have the same names."""
    try:
        yield
    except _CORE_ERRORS as error:
        raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error


def environment_proxy(url: httpx.URL) -> str | None:
    """The HTTP proxy that the environment names for `url` (`https_proxy`, `all_proxy`, `no_proxy`), or None.

    Raises SetupError (PROXY_UNSUPPORTED) for a proxy that is not spoken to by HTTP.
    """
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise SetupError(
            "PROXY_UNSUPPORTED",
            f"The environment names a proxy for {url.scheme}:// that is not an HTTP proxy. Name an http:// proxy, or"
            f" add"
            f" {url.host} to no_proxy.",
        )
    return proxy or None
