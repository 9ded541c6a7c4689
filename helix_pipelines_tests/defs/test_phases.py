"""An error's verdict decides what Dagster does next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
from psycopg import errors

from helix_pipelines.defs.phases import translated
from helix_pipelines.resilience.errors import (
    BatchStoppedError,
    FencedError,
    GlobalError,
    HelixError,
    LimitedError,
    PhaseError,
    SetupError,
    TransientError,
)
from helix_pipelines.settings import Settings
from helix_pipelines.storage.batch_runs import BatchBusyError, BatchRun
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import Place

PASSES = [
    TransientError("SERVICE_DOWN", "503"),
    LimitedError("LIMITED", "429", 3),
    PhaseError("embedding", "SERVICE_DOWN", "503", recoverable=True),
    errors.AdminShutdown(),
    psycopg.OperationalError("connection refused"),
]
STAYS = [
    GlobalError("EMBEDDING_KEY_REFUSED", "401"),
    PhaseError("embedding", "EMBEDDING_KEY_REFUSED", "401", recoverable=False),
    SetupError("EMBEDDING_GENERATION_MISMATCH", "another model"),
    errors.UniqueViolation(),
    KeyError("a bug"),
]


SETTINGS = Settings(max_retries=2, retry_backoff_base=60)


@contextmanager
def step(retries: int, place: Place | None = None) -> Iterator[None]:
    """What surrounds a step that has been retried so often and fails at `place`."""
    run = BatchRun(Database("postgresql://127.0.0.1/unused"), "run")
    run.place = place
    with translated(SETTINGS, "parsed_rows", retries, run):
        yield


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_an_error_that_passes_is_retried_after_about_a_minute_then_two(error: Exception) -> None:
    waits: list[float] = []
    for retries in range(2):
        with pytest.raises(dg.RetryRequested) as request, step(retries):
            raise error
        waits.append(request.value.seconds_to_wait or 0)
    assert 0 < waits[0] <= 120
    assert 0 < waits[1] <= 240


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_an_error_that_does_not_pass_after_all_ends_the_step(error: Exception) -> None:
    with pytest.raises(dg.Failure), step(2):
        raise error


@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_an_error_that_stays_ends_the_step_at_once(error: Exception) -> None:
    with pytest.raises(dg.Failure) as failure, step(0):
        raise error
    assert not failure.value.allow_retries


def test_code_and_message_are_shown_with_the_failure() -> None:
    with pytest.raises(dg.Failure) as failure, step(0):
        raise HelixError("BATCH_UNKNOWN", "There is no such batch.")
    assert failure.value.description == "BATCH_UNKNOWN: There is no such batch."
    assert failure.value.metadata["code"].value == "BATCH_UNKNOWN"


def test_a_failure_names_the_phase_the_file_and_its_rows() -> None:
    with pytest.raises(dg.Failure) as failure, step(0, Place(7, "inbox/faq.csv", 401, 600)):
        raise ValueError("no such thing")
    told = {name: value.value for name, value in failure.value.metadata.items()}
    assert told["phase"] == "parsed_rows"
    assert told["place"] == {"import": 7, "path": "inbox/faq.csv", "first_row": 401, "last_row": 600}
    assert "report it" in str(told["advice"])


@pytest.mark.parametrize(
    "error",
    [
        BatchBusyError("BATCH_BUSY", "Run x works on it."),
        FencedError("LEASE_LOST", "another run has the batch"),
        BatchStoppedError("BATCH_PAUSE", "The run ends here.", "pause"),
    ],
    ids=repr,
)
def test_a_run_that_leaves_its_batch_to_others_has_not_failed(error: HelixError) -> None:
    with pytest.raises(type(error)), step(0):
        raise error


def test_a_stop_by_a_human_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt), step(0):
        raise KeyboardInterrupt
