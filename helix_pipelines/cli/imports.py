"""`helix import`: files become searchable pairs now, by the same Dagster job that the inbox uses."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from helix_pipelines.cli.connection import connect, database_url
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
from helix_pipelines.cli.import_run import Display, see_through
from helix_pipelines.cli.output import ExitCode, JsonOption, note, write_json
from helix_pipelines.cli.summary import batch_text
from helix_pipelines.ingestion.handing_over import HandedOver, Recorded, hand_over
from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.settings import Settings, load_settings
from helix_pipelines.storage import reports
from helix_pipelines.storage.batches import FileRequest
from helix_pipelines.storage.recovery import RetryRules
from helix_pipelines.storage.states import BatchState


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("import")(import_files)


def import_files(
    paths: PathsArgument,
    collection: CollectionOption = None,
    source: SourceOption = None,
    mode: ModeOption = None,
    mapping: MappingOption = None,
    sheets: SheetsOption = None,
    encoding: EncodingOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 if a file or row was refused.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Queue the files for the daemon of `helix up` and return at once.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would happen to every row and what it would cost; change nothing."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Import files and wait until their pairs can be searched.

    A file that was imported before costs nothing; one that was corrected updates its rows. An import that was stopped or
    killed is continued by the same command.

    Try:

    - `helix import faq.csv`
    - `helix import exports/ --collection support --strict`
    - `helix import faq.csv --dry-run`
    - `helix import dump.tsv --map question=Frage,answer=Antwort --source faq`
    - `helix import faq.jsonl.gz --mode sync --json`

    A file `helix.toml` in a folder says how its files are read (docs/formats.md); options given here win over it.
    With --no-wait the status is `deferred`: the daemon does the work later. With --dry-run the files are read and matched, and
    nothing is stored, changed or sent to the embedding service.
    """
    if dry_run and no_wait:
        raise UsageError("OPTIONS_CONFLICT", "--dry-run queues nothing: leave out --no-wait.")
    requests = requested_files(
        paths,
        collection=collection,
        source=source,
        mode=mode,
        mapping=mapping,
        sheets=sheets,
        encoding=encoding,
    )
    settings = load_settings()
    if dry_run:
        return _rehearsed(settings, requests, strict=strict, as_json=as_json)
    report = _queued(settings, requests) if no_wait else imported(settings, requests)
    _show(report, batch_text, as_json=as_json)
    return exit_code(report, strict=strict, waited=not no_wait)


def _rehearsed(settings: Settings, requests: Sequence[FileRequest], *, strict: bool, as_json: bool) -> ExitCode:
    """Say what importing the files would do."""
    from helix_pipelines.cli.import_dry_run import dry_run_code, dry_run_text, rehearse_import

    report = rehearse_import(settings, requests)
    _show(report, dry_run_text, as_json=as_json)
    return dry_run_code(report, strict=strict)


def _show(report: dict[str, Any], in_words: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    if as_json:
        write_json(report)
    else:
        typer.echo(in_words(report))


def exit_code(report: dict[str, Any], *, strict: bool, waited: bool = True) -> ExitCode:
    """How the command ends for this report; a batch that was only queued is done as far as the command goes."""
    if report["status"] == "error" or any(file["status"] == "failed" for file in report["imports"]):
        return ExitCode.FAILED
    if waited and report["status"] in {"deferred", "paused"}:
        return ExitCode.NOT_FINISHED
    refused = any(file["status"] == "rejected" or file["quarantined"] for file in report["imports"])
    return ExitCode.INPUT_REFUSED if strict and refused else ExitCode.DONE


def _queued(settings: Settings, requests: Sequence[FileRequest]) -> dict[str, Any]:
    """Leave the files to the daemon; what there is to report of them."""
    with database_url(settings) as url, connect(url) as connection:
        batch = key_of(hand_over(connection, requests, state=BatchState.QUEUED))
        report = {**reports.import_report(connection, batch), "status": BatchState.DEFERRED}
        report.pop("error", None)  # it has not ended yet
        return report


def imported(
    settings: Settings, requests: Sequence[FileRequest], recorded: Recorded = lambda _connection, _batch: None
) -> dict[str, Any]:
    """Import the files and report how that ended; `recorded` belongs to the transaction that records a new batch."""
    from helix_pipelines.instance import dagster_runs
    from helix_pipelines.instance.services import embedder

    with (
        dagster_runs.RunStarter(settings) as runs,
        database_url(settings, runs.use_database) as url,
        connect(url) as connection,
    ):
        batch = key_of(hand_over(connection, requests, state=BatchState.LAUNCHED, recorded=recorded))
        with embedder(settings), _terminated_like_interrupted(), _display() as display:
            rules = RetryRules.from_settings(settings)
            see_through(connection, batch, lambda: runs.start(batch), display, settings.phase_timeout, rules)
        return reports.import_report(connection, batch)


def key_of(handed: HandedOver) -> str:
    """The key of the batch that files have become; tells the person where it was begun before."""
    if handed.goes_on:
        note(f"Resuming batch {handed.batch}, which these files began.")
    return handed.batch


@contextmanager
def _display() -> Iterator[Display | None]:
    """A live display where a person watches stderr; a pipe or log file gets the summary only."""
    if not sys.stderr.isatty():
        yield None
        return
    from helix_pipelines.cli.progress import ProgressDisplay

    with ProgressDisplay() as display:
        yield display


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM stops the run as Ctrl-C does, so that a service manager or `timeout` leaves no run behind."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
