"""Dagster's webserver and daemon as processes to supervise, and how to tell that the UI is there."""

from __future__ import annotations

import http.client
import socket
import sys

from helix_pipelines.instance.child import OFFSPRING, ChildSpec
from helix_pipelines.instance.dagster_home import dagster_environment, prepare_dagster_home
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings

HOST = "127.0.0.1"
DEFAULT_UI_PORT = 3000
UI_PORT_RANGE = 50
"""How many ports from the default on are tried; a port that was asked for by HELIX_UI_PORT is never replaced."""


def dagster_services(settings: Settings, url: str, port: int) -> list[ChildSpec]:
    """Dagster's webserver and daemon, in the order of their start.

    Each loads the code location in a server of its own: sharing one saves memory, but then its death takes both down,
    and runs are launched through it.
    """
    workspace = prepare_dagster_home(settings, url) / "workspace.yaml"
    home = settings.home.absolute()
    environment = {**dagster_environment(settings, url), OFFSPRING: str(home)}
    python = [sys.executable, "-m"]
    logs = ["--log-format", "json"]  # the others colour their lines, which only a terminal understands
    commands = {
        "dagster-webserver": [*python, "dagster_webserver", "-h", HOST, "-p", str(port), "-w", str(workspace), *logs],
        "dagster-daemon": [*python, "dagster._daemon", "run", "-w", str(workspace), *logs],
    }
    return [ChildSpec(name, command, home / "logs" / f"{name}.log", environment) for name, command in commands.items()]


def choose_ui_port(wanted: int | None) -> int:
    """The port to serve the UI on: `wanted`, or the first free one from 3000 on. Raises SetupError (UI_PORT_BUSY)."""
    candidates = range(DEFAULT_UI_PORT, DEFAULT_UI_PORT + UI_PORT_RANGE) if wanted is None else (wanted,)
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise SetupError(
        "UI_PORT_BUSY",
        f"No port for the UI: {candidates[0]} to {candidates[-1]} are taken. Name a free one by HELIX_UI_PORT.",
    )


def ui_answers(port: int) -> bool:
    """Whether Dagster's webserver answers on `port` of this machine."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
