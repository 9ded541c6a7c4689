"""An error's verdict decides what Dagster does next."""

from __future__ import annotations

import dagster as dg
import psycopg
import pytest
from psycopg import errors

from helix_pipelines.defs.phases import is_recoverable, translated
from helix_pipelines.resilience.errors import (
    FencedError,
    GlobalError,
    HelixError,
    LimitedError,
    PhaseError,
    SetupError,
    TransientError,
)
from helix_pipelines.settings import Settings
from helix_pipelines.storage.leases import BatchBusyError

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
    FencedError("LEASE_LOST", "another run has the batch"),
    errors.UniqueViolation(),
    KeyError("a bug"),
]


SETTINGS = Settings(max_retries=2, retry_backoff_base=60)


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_an_error_that_passes_is_retried_after_about_a_minute_then_two(error: Exception) -> None:
    waits: list[float] = []
    for retries in range(2):
        with pytest.raises(dg.RetryRequested) as request, translated(SETTINGS, retries):
            raise error
        waits.append(request.value.seconds_to_wait or 0)
    assert 0 < waits[0] <= 120
    assert 0 < waits[1] <= 240


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_an_error_that_does_not_pass_after_all_ends_the_step(error: Exception) -> None:
    with pytest.raises(dg.Failure), translated(SETTINGS, 2):
        raise error


@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_an_error_that_stays_ends_the_step_at_once(error: Exception) -> None:
    assert not is_recoverable(error)
    with pytest.raises(dg.Failure) as failure, translated(SETTINGS, 0):
        raise error
    assert not failure.value.allow_retries


def test_code_and_message_are_shown_with_the_failure() -> None:
    with pytest.raises(dg.Failure) as failure, translated(SETTINGS, 0):
        raise HelixError("BATCH_UNKNOWN", "There is no such batch.")
    assert failure.value.description == "BATCH_UNKNOWN: There is no such batch."
    assert failure.value.metadata["code"].value == "BATCH_UNKNOWN"


def test_a_batch_held_by_another_run_is_tried_again_when_its_lease_can_have_lapsed() -> None:
    error = BatchBusyError("BATCH_BUSY", "Run x works on it.")
    with pytest.raises(dg.RetryRequested) as request, translated(SETTINGS, 2):
        raise error
    assert request.value.seconds_to_wait == 21
    with pytest.raises(dg.Failure, match="BATCH_BUSY"), translated(SETTINGS, 3):
        raise error


def test_a_stop_by_a_human_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt), translated(SETTINGS, 0):
        raise KeyboardInterrupt
