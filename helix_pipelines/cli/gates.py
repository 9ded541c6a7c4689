"""`helix gate` and `helix breaker`: what a service may be asked, whether it is asked now, and an operator's word on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer

from helix_pipelines.cli.connection import act_as_person, connected
from helix_pipelines.cli.output import ExitCode, JsonOption, say, table, write_json
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import MOST_CONCURRENCY, MOST_PER_MINUTE, load_settings
from helix_pipelines.storage import gates

GateOption = Annotated[
    str | None,
    typer.Option("--gate", metavar="KEY", help="The gate's key or its beginning, where there is more than one."),
]


def _usable(value: float | None) -> float | None:
    """Refuse what the range lets through: NaN, which is neither below nor above anything, and next to nothing."""
    if value is not None and not (value == 0 or value >= gates.LEAST_PER_MINUTE):
        raise typer.BadParameter(f"{value} is not a number from {gates.LEAST_PER_MINUTE} on, or 0.")
    return value


LimitOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=MOST_PER_MINUTE, callback=_usable, help="A limit for every process, 0 for what the settings say."
    ),
]


def register(app: typer.Typer) -> None:
    """Add both groups of commands to the application."""
    gate = typer.Typer(
        help="The budget that all processes share for a service.\n\nTry: `helix gate show`", no_args_is_help=False
    )
    gate.command("show")(show)
    gate.command("set")(choose)
    app.add_typer(gate, name="gate")
    breaker = typer.Typer(
        help="Whether a failing service is left alone.\n\nTry: `helix breaker status`", no_args_is_help=False
    )
    breaker.command("status")(status)
    breaker.command("reset")(reset)
    app.add_typer(breaker, name="breaker")


def show(as_json: JsonOption = False) -> int:
    """Show the limits of every gate: in force, set by the settings, chosen by an operator, told by the service.

    Try: `helix gate show --json`
    """
    with connected(load_settings()) as connection:
        known = gates.list_gates(connection)
    return _report(known, as_json=as_json, text=_limits_text(known) or "No service has been asked yet.")


def choose(
    rpm: LimitOption = None,
    tpm: LimitOption = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=0, max=MOST_CONCURRENCY, help="Requests in flight, 0 for what the settings say."),
    ] = None,
    gate: GateOption = None,
    as_json: JsonOption = False,
) -> int:
    """Choose limits for a gate, at once and for all processes. They stand over the settings until they are set to 0.

    Try:

    - `helix gate set --rpm 300`
    - `helix gate set --rpm 0 --tpm 0 --concurrency 0`
    """
    chosen = {"requests_per_minute": rpm, "tokens_per_minute": tpm, "max_concurrency": concurrency}
    given = {name: value or None for name, value in chosen.items() if value is not None}
    if not given:
        raise UsageError("LIMIT_MISSING", "Say which limit to choose: --rpm, --tpm or --concurrency.")
    with _operating() as connection:
        changed = gates.choose_limits(connection, _key(connection, gate), given)
    return _report([changed], as_json=as_json, text=_limits_text([changed]))


def status(as_json: JsonOption = False) -> int:
    """Show whether each service is asked (closed), left alone (open, half_open) or shut until somebody acts.

    Try: `helix breaker status`
    """
    with connected(load_settings()) as connection:
        known = gates.list_gates(connection)
    return _report(known, as_json=as_json, text=_breaker_text(known) or "No service has been asked yet.")


def reset(gate: GateOption = None, as_json: JsonOption = False) -> int:
    """Let requests through again: after a key, a model or an account was put right, or instead of waiting for the next probe.

    Batches that were deferred go on by themselves; one that failed is run again by `helix import` or in Dagster's UI.

    Try: `helix breaker reset`
    """
    with _operating() as connection:
        keys = [line["key"] for line in gates.list_gates(connection)] if gate is None else [_key(connection, gate)]
        changed = [gates.reset_breaker(connection, key) for key in keys]
    return _report(changed, as_json=as_json, text=_breaker_text(changed) or "No service has been asked yet.")


@contextmanager
def _operating() -> Iterator[psycopg.Connection]:
    """A transaction in the name of the person at the terminal, for the audit log."""
    with connected(load_settings()) as connection, connection.transaction():
        act_as_person(connection)
        yield connection


def _key(connection: psycopg.Connection, prefix: str | None) -> str:
    """The key that a person means. Raises UsageError (GATE_UNKNOWN, GATE_AMBIGUOUS)."""
    keys = [line["key"] for line in gates.list_gates(connection) if line["key"].startswith(prefix or "")]
    if not keys:
        raise UsageError(
            "GATE_UNKNOWN", "There is no such gate; `helix gate show` lists them. One begins with its first request."
        )
    if len(keys) > 1:
        raise UsageError("GATE_AMBIGUOUS", f"There are several gates: choose one by --gate ({', '.join(keys)}).")
    return str(keys[0])


def _report(known: list[dict[str, Any]], *, as_json: bool, text: str) -> int:
    if as_json:
        write_json({"gates": known})
    else:
        say(text)
    return ExitCode.DONE


def _limits_text(known: list[dict[str, Any]]) -> str:
    rows = [
        [
            line["key"][:8],
            line["service"],
            name,
            *(_amount(line[group][name]) for group in ("limits", "settings", "chosen", "told")),
        ]
        for line in known
        for name in ("requests_per_minute", "tokens_per_minute", "max_concurrency")
    ]
    return table(["gate", "service", "limit", "in force", "settings", "chosen", "told by it"], rows)


def _breaker_text(known: list[dict[str, Any]]) -> str:
    rows = [
        [
            line["key"][:8],
            line["service"],
            line["state"],
            line["failures"],
            line["in_flight"],
            line["retry_at"] or "",
            line["message"] or "",
        ]
        for line in known
    ]
    return table(["gate", "service", "breaker", "failures", "in flight", "asked again at", "reason"], rows)


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")
