"""`helix embed-server`: the local embedder by itself, for other machines' tunnels or other programs on this one."""

from __future__ import annotations

from typing import Annotated

import typer

from helix_pipelines.cli.output import ExitCode, note

DEFAULT_PORT = 8089


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("embed-server")(embed_server)


def embed_server(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on, on 127.0.0.1.")] = DEFAULT_PORT,
) -> int:
    """Serve OpenAI's embeddings API over multilingual-e5-small on this machine's cores until Ctrl-C.

    Commands start an embedder of their own where they need one; this is for other programs.

    Try:

    - `helix embed-server`
    - `curl localhost:8089/v1/embeddings -d '{"model": "multilingual-e5-small", "input": "How do I pay?"}'`
    """
    from helix_pipelines.embedding.local_server import serve

    note(f"Serving http://127.0.0.1:{port}/v1")
    serve(port)
    return ExitCode.DONE
