"""A channel to a service on this machine by the standard library's HTTP: for one request, where loading httpx takes longer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from helix_pipelines.embedding.channel import HEADERS, Response, authorization, connection_lost, timed_out, unreachable
from helix_pipelines.settings import LOCAL_HOSTS, Secret

CHUNK_BYTES = 64 * 1024


class LoopbackChannel:
    """A connection of its own for each request, without TLS and proxies, which no service on this machine needs."""

    def __init__(self, host: str, port: int, path: str, api_key: Secret | None) -> None:
        self.where = f"http://{host}:{port}{path}"
        self._host = host
        self._port = port
        self._path = path
        self._headers = HEADERS if api_key is None else {**HEADERS, "authorization": authorization(api_key)}

    @contextmanager
    def post(self, body: bytes, deadline: float) -> Iterator[Response]:
        """Send a request whose answer is read inside the block, all of it by `deadline`."""
        connection = _Connection(self._host, self._port, deadline)
        try:
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            yield Response(answer.status, headers, _chunks(answer))
        except TimeoutError as error:
            raise timed_out(self.where) from error
        except ConnectionRefusedError as error:
            raise unreachable(self.where) from error
        except (OSError, HTTPException) as error:
            raise connection_lost(self.where, error) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is kept open."""


def loopback_channel(endpoint_url: str, api_key: Secret | None) -> LoopbackChannel | None:
    """The channel to an API on this machine; None for any other, and for addresses that say more than host, port and path.

    Raises SetupError (SETTING_INVALID) for a key that cannot be used.
    """
    try:
        parts = urlsplit(endpoint_url.strip())
        port = parts.port or 80
    except ValueError:
        return None
    is_plain = parts.scheme == "http" and not (parts.username or parts.query or parts.fragment)
    if not is_plain or parts.hostname not in LOCAL_HOSTS:
        return None
    return LoopbackChannel(parts.hostname, port, parts.path.rstrip("/") + "/embeddings", api_key)


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk
    if answer.length:  # an answer read in pieces may end early without a word
        raise IncompleteRead(b"", answer.length)


class _Connection(HTTPConnection):
    def __init__(self, host: str, port: int, deadline: float) -> None:
        super().__init__(host, port)
        self._deadline = deadline

    def connect(self) -> None:
        self.timeout = _left(self._deadline)
        super().connect()
        self.sock = _DeadlineSocket(self.sock, self._deadline)


class _DeadlineSocket(socket.socket):
    """A timeout holds for each read, so a sender of a byte now and then would never meet it: each gets what is left."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__(connected.family, connected.type, connected.proto, fileno=connected.detach())
        self._deadline = deadline

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(_left(self._deadline))
        super().sendall(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(_left(self._deadline))
        return super().recv_into(*arguments)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the request's deadline has passed")
    return left
