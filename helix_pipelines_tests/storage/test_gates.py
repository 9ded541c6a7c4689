"""What an operator sees of a gate and decides about it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import psycopg
import pytest

from helix_pipelines.resilience.errors import UsageError
from helix_pipelines.resilience.gate import Gate, Kind, Outcome, Report, Verdict, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.rate_headers import RateHeaders
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.gates import CHOICES, choose_limits, list_gates, reset_breaker
from helix_pipelines.storage.states import BatchState

NUMBERS = itertools.count()
LIMITS = GateLimits(requests_per_minute=100, tokens_per_minute=50_000, max_concurrency=4, tokens_per_day=10**6)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def gate(database_url: str) -> Iterator[Gate]:
    """A gate of its own that has been used once."""
    key = next(NUMBERS).to_bytes(16, "big")
    with Gate(lambda: gate_connection(database_url), key, "embedding", LIMITS) as gate:
        request(gate)
        yield gate


def request(gate: Gate, outcome: Outcome = Outcome.SUCCESS, **report: str | RateHeaders) -> None:
    answer = gate.acquire(Kind.BULK, 10, ttl=60, max_wait=1e9, scope="model")
    assert answer.lease is not None
    gate.release(answer.lease, Report(outcome, **report), "model")  # type: ignore[arg-type]


def fail(gate: Gate) -> None:
    for _ in range(gate.limits.failure_threshold):
        request(gate, Outcome.TRANSIENT, message="503")


def verdict(gate: Gate) -> Verdict:
    return gate.acquire(Kind.BULK, 10, ttl=60, max_wait=1e9, scope="model").verdict


def audited(connection: psycopg.Connection) -> list[list[str]]:
    rows = connection.execute("SELECT changed FROM helix.audit_log WHERE table_name = 'gate' ORDER BY id").fetchall()
    return [changed for (changed,) in rows]


def test_limits_are_listed_by_where_they_come_from(connection: psycopg.Connection, gate: Gate) -> None:
    request(gate, headers=RateHeaders(limit_requests=80, remaining_requests=79))
    choose_limits(connection, gate.key.hex(), {"max_concurrency": 2})
    [line] = list_gates(connection, gate.key.hex())
    assert line["settings"] == {
        "requests_per_minute": 100,
        "tokens_per_minute": 50_000,
        "max_concurrency": 4,
        "tokens_per_day": 10**6,
    }
    assert line["told"] == {"requests_per_minute": 80, "tokens_per_minute": None, "max_concurrency": None}
    assert line["chosen"] == {"requests_per_minute": None, "tokens_per_minute": None, "max_concurrency": 2}
    assert line["limits"] == {
        "requests_per_minute": 80,
        "tokens_per_minute": 50_000,
        "max_concurrency": 2,
        "tokens_per_day": 10**6,
    }
    assert (line["service"], line["state"], line["in_flight"], line["tokens_today"]) == ("embedding", "closed", 0, 20)


def test_a_chosen_limit_wins_over_the_settings_in_both_directions(connection: psycopg.Connection, gate: Gate) -> None:
    for chosen in (1000, 10):
        line = choose_limits(connection, gate.key.hex(), {"requests_per_minute": chosen})
        assert line["limits"]["requests_per_minute"] == chosen
    line = choose_limits(connection, gate.key.hex(), {"requests_per_minute": None})
    assert line["limits"]["requests_per_minute"] == 100


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1, 0, 10**12])
def test_a_limit_that_would_stop_every_process_is_not_stored(
    connection: psycopg.Connection, gate: Gate, name: str, value: float
) -> None:
    with pytest.raises(UsageError, match="LIMIT_INVALID"):
        choose_limits(connection, gate.key.hex(), {name: value})
    [line] = list_gates(connection, gate.key.hex())
    assert line["chosen"][name] is None


def test_a_chosen_limit_does_not_win_over_the_service(connection: psycopg.Connection, gate: Gate) -> None:
    request(gate, headers=RateHeaders(limit_tokens=900, remaining_tokens=890))
    line = choose_limits(connection, gate.key.hex(), {"tokens_per_minute": 10**9})
    assert line["limits"]["tokens_per_minute"] == 900


def test_a_chosen_limit_holds_at_once_and_for_processes_that_start_later(
    connection: psycopg.Connection, gate: Gate, database_url: str
) -> None:
    choose_limits(connection, gate.key.hex(), {"max_concurrency": 1})
    with Gate(lambda: gate_connection(database_url), gate.key, "embedding", LIMITS) as later:
        assert [verdict(gate), verdict(later)] == [Verdict.GRANTED, Verdict.BUSY]


def test_what_people_decide_is_audited_and_what_requests_change_is_not(
    connection: psycopg.Connection, gate: Gate
) -> None:
    before = len(audited(connection))
    request(gate)
    request(gate, Outcome.TRANSIENT, message="503")
    assert len(audited(connection)) == before
    choose_limits(connection, gate.key.hex(), {"requests_per_minute": 7, "max_concurrency": None})
    assert audited(connection)[before:] == [["chosen_requests_per_minute"]]


def test_a_gate_that_was_shut_is_audited_and_so_is_its_reset(connection: psycopg.Connection, gate: Gate) -> None:
    before = len(audited(connection))
    request(gate, Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
    reset_breaker(connection, gate.key.hex())
    shut, opened = audited(connection)[before:]
    assert shut == ["message", "shut_at", "shut_code", "shut_scope"]
    assert {"breaker_generation", "shut_code"} <= set(opened)


def test_a_gate_that_is_shut_says_so_and_goes_on_after_a_reset(connection: psycopg.Connection, gate: Gate) -> None:
    request(gate, Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
    [line] = list_gates(connection, gate.key.hex())
    assert (line["state"], line["code"], line["message"]) == ("shut", "KEY_REFUSED", "Check the key.")
    line = reset_breaker(connection, gate.key.hex())
    assert (line["state"], line["code"], line["message"], line["shut_at"]) == ("closed", None, None, None)
    assert verdict(gate) is Verdict.GRANTED


def test_a_reset_closes_the_breaker_and_forgets_what_blocked_it(connection: psycopg.Connection, gate: Gate) -> None:
    fail(gate)
    connection.execute(
        "UPDATE helix.gate SET blocked_until = now() + interval '1 hour' WHERE key_hash = %s", [gate.key]
    )
    [line] = list_gates(connection, gate.key.hex())
    assert line["state"] == "open"
    assert line["retry_at"] is not None
    assert line["blocked_until"] is not None
    line = reset_breaker(connection, gate.key.hex())
    assert (line["state"], line["failures"], line["blocked_until"], line["retry_at"]) == ("closed", 0, None, None)
    assert verdict(gate) is Verdict.GRANTED


def test_a_probe_from_before_a_reset_does_not_hold_up_the_next_outage(
    connection: psycopg.Connection, gate: Gate
) -> None:
    def make_due() -> None:
        connection.execute("UPDATE helix.gate SET retry_at = clock_timestamp() WHERE key_hash = %s", [gate.key])

    fail(gate)
    make_due()
    assert gate.acquire(Kind.BULK, 10, ttl=60, max_wait=1e9, scope="model").is_probe
    reset_breaker(connection, gate.key.hex())
    fail(gate)
    make_due()
    assert gate.acquire(Kind.BULK, 10, ttl=60, max_wait=1e9, scope="model").is_probe


def test_a_reset_makes_the_batches_due_that_wait_at_this_gate(connection: psycopg.Connection, gate: Gate) -> None:
    keys = [gate.key, b"another gate"]
    batches = []
    for key in keys:
        name = key.hex()
        with connection.transaction():
            file = FileRequest(f"/inbox/{name}.csv", "c", f"{name}.csv")
            batches.append(create_batch(connection, "faq", [file], BatchSettings(), state=BatchState.RUNNING))
        connection.execute(
            "UPDATE helix.import_batch SET state = 'deferred', retry_at = now() + interval '1 hour', gate_key = %s"
            " WHERE partition_key = %s",
            [key, batches[-1]],
        )
    reset_breaker(connection, gate.key.hex())
    due = connection.execute(
        "SELECT partition_key FROM helix.import_batch WHERE retry_at <= clock_timestamp() AND state = 'deferred'"
    ).fetchall()
    assert due == [(batches[0],)]
