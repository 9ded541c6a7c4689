"""uvicorn on loopback, for applications that need a little more of their server than ASGI gives.

An application finds its server in `scope["server_handle"]`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

import uvicorn

BACKLOG = 1024
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Connection(Protocol):
    """What uvicorn's HTTP protocols have in common."""

    scope: Scope | None
    server: tuple[str, int] | None
    transport: asyncio.Transport


class LoopbackServer(uvicorn.Server):
    """Serves an application on a listening socket, which can be closed for a while, and on a second one, which cannot."""

    def __init__(self, app: Any, listener: socket.socket, control: socket.socket | None = None, **options: Any) -> None:
        async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
            scope["server_handle"] = self
            await app(scope, receive, send)

        config = uvicorn.Config(
            introduced,
            interface="asgi3",
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            timeout_keep_alive=75,
            **options,
        )
        super().__init__(config)
        self._listener = listener
        self._control = control

    @property
    def port(self) -> int:
        """Of the first socket."""
        return int(self._listener.getsockname()[1])

    def serve_until_told(self) -> None:
        """Serve until the process is ended or `should_exit` is set."""
        # A copy, as the event loop closes what it listens on, and the port has to stay ours for `open`.
        self.run(sockets=[self._listener.dup(), *([self._control] if self._control else [])])

    def close(self) -> None:
        """Refuse connections on the first socket from now on and cut those there are, as if the service had died."""
        self.servers[0].close()
        # A socket that is bound and does not listen: the kernel refuses for it and gives its port to nobody else.
        self._listener.shutdown(socket.SHUT_RD)
        for connection in self._connections():
            if connection.server is not None and connection.server[1] == self.port:
                connection.transport.abort()

    async def open(self) -> None:
        """Accept connections on the first socket again."""
        self._listener.listen(BACKLOG)
        self.servers[0] = await asyncio.get_running_loop().create_server(
            self._protocol, sock=self._listener.dup(), ssl=self.config.ssl, backlog=BACKLOG
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End at once: a request that hangs would hold it up as long as its client waits."""
        for connection in self._connections():
            connection.transport.abort()
        await super().shutdown(sockets)

    def cut(self, scope: Scope) -> None:
        """Close the connection of this request when what was sent has left."""
        for connection in self._connections():
            if connection.scope is scope:
                connection.transport.close()

    def _connections(self) -> list[_Connection]:
        return cast("list[_Connection]", list(self.server_state.connections))

    def _protocol(self) -> asyncio.Protocol:
        protocol = cast("type[Any]", self.config.http_protocol_class)
        made = protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return cast("asyncio.Protocol", made)


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 is a free one."""
    if port == 0:
        # The kernel takes back a port that it chose when its socket stops listening; one that was asked for stays ours.
        with _bound(0) as choice:
            return listen(choice.getsockname()[1])
    listener = _bound(port)
    listener.listen(BACKLOG)
    return listener


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def origin_of(listener: socket.socket) -> str:
    """The origin of URLs that lead to a listening socket."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def running_server(server: LoopbackServer) -> Iterator[None]:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_until_told, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)


@contextmanager
def running_app(app: Any, **options: Any) -> Iterator[str]:
    """Serve any ASGI application on a free loopback port in a thread, and give its origin; `options` are uvicorn's."""
    with listen(0) as listener, running_server(LoopbackServer(app, listener, **options)):
        yield origin_of(listener)
