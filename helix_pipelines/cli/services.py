"""`helix up` and `helix down`: the whole system on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helix_pipelines.cli.output import JsonOption, note, say, write_json
from helix_pipelines.settings import load_settings

if TYPE_CHECKING:
    from helix_pipelines.instance.up_state import UpState


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("down")(down)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background and return once the UI answers.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start everything: database, local embedder, Dagster's UI and daemon. Ctrl-C or `helix down` stops it.

    Files that land in the inbox are imported from now on. What dies is started again.

    Try:

    - `helix up`
    - `helix up --detach --json`
    """
    from helix_pipelines.instance.supervisor import Supervisor, start_detached
    from helix_pipelines.instance.up_state import running_state

    settings = load_settings()
    running = running_state(settings.home.absolute())
    if running is not None:
        _announce("already_running", running, as_json=as_json)
    elif detach:
        _announce("started", start_detached(settings), as_json=as_json)
    else:
        note(f"Starting Helix in {settings.home} ...")
        Supervisor(settings, note, lambda state: _announce("started", state, as_json=as_json)).run()
        note("Stopped.")


def down(as_json: JsonOption = False) -> None:
    """Stop everything that `helix up` started and what a crashed one left. The next start continues running imports.

    Try: `helix down`
    """
    from helix_pipelines.instance.supervisor import shut_down

    was_running = shut_down(load_settings())
    if as_json:
        write_json({"status": "stopped" if was_running else "not_running"})
    else:
        say("Stopped." if was_running else "Helix was not running.")


def _announce(status: str, state: UpState, *, as_json: bool) -> None:
    document: dict[str, Any] = {
        "status": status,
        "ready": state.ready,
        "pid": state.supervisor.pid,
        "ui": state.ui,
        "inbox": state.inbox,
        "logs": state.logs,
    }
    if as_json:
        write_json(document)
        sys.stdout.flush()  # `helix up` goes on, and whoever started it waits for this
        return
    if status == "already_running":
        say("Helix is running already." if state.ready else "Helix is being started already.")
    say(f"UI      {state.ui}\nInbox   {state.inbox}\nLogs    {state.logs}")
    say("Drop files into the inbox. Stop by `helix down`.")
