"""`helix embed-server`: the local embedder by itself, for other machines' tunnels or other programs on this one."""

from __future__ import annotations

import socket
import sys
import time
from threading import Thread
from typing import Annotated

import typer

from helix_pipelines.cli.output import ExitCode, JsonOption, note, write_json
from helix_pipelines.resilience.errors import SetupError

DEFAULT_PORT = 8089
HOST = "127.0.0.1"
READY_SECONDS = 120.0
"""Far more than loading the model takes; a server that fails to start ends the command by itself."""
POLL_SECONDS = 0.1


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("embed-server")(embed_server)


def embed_server(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on, on 127.0.0.1.")] = DEFAULT_PORT,
    as_json: JsonOption = False,
) -> int:
    """Serve OpenAI's embeddings API over multilingual-e5-small on this machine's cores until Ctrl-C.

    Commands start an embedder of their own where they need one; this is for other programs. With --json the document is
    printed as soon as requests are answered.

    Try:

    - `helix embed-server`
    - `helix embed-server --port 8090 --json`
    - `curl localhost:8089/v1/embeddings -d '{"model": "multilingual-e5-small", "input": "How do I pay?"}'`
    """
    from helix_pipelines.embedding.local_server import serve

    _refuse_busy(port)
    Thread(target=_announce, args=[port], kwargs={"as_json": as_json}, daemon=True).start()
    serve(port)
    return ExitCode.DONE


def _refuse_busy(port: int) -> None:
    """Raise SetupError (PORT_BUSY) for a port that cannot be had, before the model is loaded for nothing."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise SetupError(
            "PORT_BUSY", f"Port {port} cannot be listened on: {error.strerror}. Choose another one by --port."
        ) from error


def _announce(port: int, *, as_json: bool) -> None:
    """Say where the server is once it accepts connections, which it does when the model is loaded."""
    gives_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < gives_up:
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:  # not yet
            time.sleep(POLL_SECONDS)
            continue
        url = f"http://{HOST}:{port}/v1"
        note(f"Serving {url}")
        if as_json:
            write_json({"url": url, "port": port})
            sys.stdout.flush()  # the command goes on, and whoever started it waits for this
        return
