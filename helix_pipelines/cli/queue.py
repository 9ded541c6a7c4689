"""`helix queue`: what waits, what runs, and a person's word on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import psycopg
import typer

from helix_pipelines.cli.connection import act_as_person, connected
from helix_pipelines.cli.import_options import (
    CollectionOption,
    EncodingOption,
    MappingOption,
    ModeOption,
    PathsArgument,
    SheetsOption,
    SourceOption,
    requested_files,
)
from helix_pipelines.cli.output import LARGEST_ID, ExitCode, JsonOption, say, table, write_json
from helix_pipelines.settings import load_settings
from helix_pipelines.storage import queue_verbs
from helix_pipelines.storage.queue_verbs import Standing
from helix_pipelines.storage.states import BatchState

SHOWN = 20
HIGHEST_PRIORITY = 1000
BatchArgument = Annotated[
    str, typer.Argument(metavar="BATCH", help="The batch's key, as `helix queue list` prints it.")
]
DAY, HOUR, MINUTE = 86_400, 3_600, 60


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(
        help="The queue of import batches: look at it, add files, and change what is done when."
        "\n\nTry: `helix queue list`",
        no_args_is_help=False,
    )
    group.command("list")(list_batches)
    for verb in (add, pause, resume, promote, reorder, cancel, retry):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="queue")


def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=LARGEST_ID, help="Batches of each state at most.")] = SHOWN,
    as_json: JsonOption = False,
) -> int:
    """List the batches that are not finished: running, launched, queued in their order, paused, deferred, failed.

    `place` counts from 1 over the whole queue. A batch is launched when its turn comes, a slot is free
    (HELIX_MAX_RUNNING_BATCHES) and no other batch of the same source is under way.

    Try:

    - `helix queue list`
    - `helix queue list --limit 1000 --json`
    """
    with connected(load_settings()) as connection:
        report = queue_verbs.list_queue(connection, limit)
    if as_json:
        write_json(report)
    else:
        say(_list_text(report))
    return ExitCode.DONE


def add(
    paths: PathsArgument,
    collection: CollectionOption = None,
    source: SourceOption = None,
    mode: ModeOption = None,
    mapping: MappingOption = None,
    sheets: SheetsOption = None,
    encoding: EncodingOption = None,
    priority: Annotated[
        int | None,
        typer.Option(min=-HIGHEST_PRIORITY, max=HIGHEST_PRIORITY, help="Batches of a higher one go first [0]."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Queue files for the daemon of `helix up`, as one batch, and return at once.

    Files that were handed over before and are not finished keep their batch: it goes on, with the priority given here.

    Try:

    - `helix queue add faq.csv`
    - `helix queue add exports/ --collection support --priority 10`
    """
    from helix_pipelines.cli.imports import key_of
    from helix_pipelines.ingestion.handing_over import hand_over

    files = requested_files(
        paths,
        collection=collection,
        source=source,
        mode=mode,
        mapping=mapping,
        sheets=sheets,
        encoding=encoding,
    )
    with connected(load_settings()) as connection, connection.transaction():
        act_as_person(connection)
        batch = key_of(hand_over(connection, files, state=BatchState.QUEUED, priority=priority))
        standing = queue_verbs.standing(connection, batch)
    return _report(standing, as_json=as_json)


def pause(batch: BatchArgument, as_json: JsonOption = False) -> int:
    """Put a batch aside until somebody resumes it. One that is running is paused after the chunk that it is at.

    What was done is kept.

    Try: `helix queue pause 20260131-101500-faq-1a2b3c4d`
    """
    return _do(queue_verbs.pause, batch, as_json=as_json)


def resume(batch: BatchArgument, as_json: JsonOption = False) -> int:
    """Let a paused or deferred batch go on where it was: it goes to the end of the queue.

    A pause that has not come into effect yet is taken back.

    Try: `helix queue resume 20260131-101500-faq-1a2b3c4d`
    """
    return _do(queue_verbs.resume, batch, as_json=as_json)


def promote(batch: BatchArgument, as_json: JsonOption = False) -> int:
    """Make a queued batch the next one of all: it gets the highest priority there is, and does not wait for another try.

    Try: `helix queue promote 20260131-101500-faq-1a2b3c4d`
    """
    return _do(queue_verbs.promote, batch, as_json=as_json)


def reorder(
    batch: BatchArgument,
    place: Annotated[
        int, typer.Argument(min=1, max=LARGEST_ID, metavar="PLACE", help="1 is the first; beyond the last is the last.")
    ],
    as_json: JsonOption = False,
) -> int:
    """Put a queued batch at a place of the queue. Its priority becomes one that fits between its new neighbours.

    Try: `helix queue reorder 20260131-101500-faq-1a2b3c4d 3`
    """
    return _do(lambda connection, key: queue_verbs.reorder(connection, key, place), batch, as_json=as_json)


def cancel(batch: BatchArgument, as_json: JsonOption = False) -> int:
    """End a batch without finishing it. One that is running is cancelled after the chunk that it is at.

    Rows that were imported stay; `helix queue retry` takes the batch up again.

    Try: `helix queue cancel 20260131-101500-faq-1a2b3c4d`
    """
    return _do(queue_verbs.cancel, batch, as_json=as_json)


def retry(batch: BatchArgument, as_json: JsonOption = False) -> int:
    """Try a failed or cancelled batch again: it goes to the end of the queue and does what is left.

    Try: `helix queue retry 20260131-101500-faq-1a2b3c4d`
    """
    return _do(queue_verbs.retry, batch, as_json=as_json)


def _do(verb: Callable[[psycopg.Connection, str], Standing], batch: str, *, as_json: bool) -> int:
    """One verb in one transaction, in the name of the person at the terminal."""
    with connected(load_settings()) as connection, connection.transaction():
        act_as_person(connection)
        standing = verb(connection, batch)
    return _report(standing, as_json=as_json)


def _report(standing: Standing, *, as_json: bool) -> int:
    if as_json:
        write_json(asdict(standing))
    else:
        say(standing.in_words())
    return ExitCode.DONE


def _list_text(report: dict[str, Any]) -> str:
    if not report["batches"]:
        return "No batch is waiting or running. Try: helix queue add FILE"
    now = datetime.now().astimezone()
    lines = [
        [
            line["state"],
            line["position"],
            line["batch"],
            line["priority"],
            line["files"],
            _age(line["age"]),
            _not_before(line["not_before"], now),
            _remark(line),
        ]
        for line in report["batches"]
    ]
    shown = {state: sum(line["state"] == state for line in report["batches"]) for state in report["counts"]}
    more = [
        f"{count - shown[state]:,} more {state}" for state, count in report["counts"].items() if count > shown[state]
    ]
    headings = ["state", "place", "batch", "priority", "files", "age", "not before", "remark"]
    return table(headings, lines) + (f"\n... and {', '.join(more)}: --limit shows them." if more else "")


def _remark(line: dict[str, Any]) -> str:
    if line["stop_requested"]:
        return f"{line['stop_requested']} requested"
    return line["error"]["code"] if line["error"] else ""


def _age(seconds: float) -> str:
    """`3 d`, `5 h`, `12 min` or `40 s`: enough to see what has been waiting for long."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _not_before(due: datetime | None, now: datetime) -> str:
    """The time of day, with the date where that is another one."""
    if due is None:
        return ""
    local = due.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M}"
