"""`helix embed-server` as another program starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request

from helix_pipelines_tests.cli.conftest import RunHelix


def test_a_program_is_told_when_and_where_texts_are_embedded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = "import sys; from helix_pipelines.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "embed-server", "--json", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        document = json.loads(server.stdout.readline())
        assert document == {"url": f"http://127.0.0.1:{port}/v1", "port": port}
        with urllib.request.urlopen(f"{document['url']}/models", timeout=10) as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGTERM)
        assert server.stdout.read() == ""
        server.wait(20)


def test_a_port_that_is_taken_is_named(helix: RunHelix) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = helix("embed-server", "--port", str(port), "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "PORT_BUSY")
    assert str(port) in ended.document["error"]["message"]
