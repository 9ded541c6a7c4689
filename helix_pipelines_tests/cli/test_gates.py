"""`helix gate` and `helix breaker`, as an operator uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from helix_pipelines.resilience.gate import Gate, Kind, Outcome, Report, Verdict, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines_tests.cli.conftest import RunHelix, slow_modules_of

ONE = b"\xaa" * 16
TWO = b"\xbb" * 16

UseGate = Callable[[bytes], Gate]


@pytest.fixture
def use_gate(database_url: str, connection: psycopg.Connection) -> Iterator[UseGate]:
    """Begins a gate with a first request; all gates are gone after the test."""
    with ExitStack() as closed:

        def use(key: bytes) -> Gate:
            limits = GateLimits(requests_per_minute=300, max_concurrency=4)
            gate = closed.enter_context(Gate(lambda: gate_connection(database_url), key, "embedding", limits))
            request(gate, Outcome.SUCCESS)
            return gate

        yield use
    connection.execute("TRUNCATE helix.gate CASCADE")


def request(gate: Gate, outcome: Outcome, code: str | None = None, message: str | None = None) -> None:
    answer = gate.acquire(Kind.BULK, 10, ttl=60, max_wait=1e9, scope="model")
    assert answer.lease is not None
    gate.release(answer.lease, Report(outcome, code=code, message=message), "model")


def shut(gate: Gate) -> None:
    request(gate, Outcome.GLOBAL, "KEY_REFUSED", "Check the key.")


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("command", [("gate", "show"), ("breaker", "status"), ("breaker", "reset")])
def test_before_the_first_request_there_is_nothing_to_see(
    helix_on_database: RunHelix, command: tuple[str, str]
) -> None:
    assert "No service has been asked yet." in helix_on_database(*command).stdout
    assert helix_on_database(*command, "--json").document == {"gates": []}


def test_limits_are_shown_in_force_and_by_origin(helix_on_database: RunHelix, use_gate: UseGate) -> None:
    use_gate(ONE)
    helix_on_database("gate", "set", "--rpm", "0.5")
    [header, requests, tokens, concurrency] = helix_on_database("gate", "show").stdout.splitlines()
    assert header.split()[:3] == ["gate", "service", "limit"]
    assert requests.split() == ["aaaaaaaa", "embedding", "requests_per_minute", "0.5", "300", "0.5", "-"]
    assert tokens.split()[2:] == ["tokens_per_minute", "-", "-", "-", "-"]
    assert concurrency.split()[2:] == ["max_concurrency", "4", "4", "-", "-"]


def test_a_limit_is_chosen_and_given_back(helix_on_database: RunHelix, use_gate: UseGate) -> None:
    use_gate(ONE)
    arguments = ("gate", "set", "--rpm", "10.5", "--tpm", "2000", "--concurrency", "2", "--json")
    [chosen] = helix_on_database(*arguments).document["gates"]
    assert chosen["chosen"] == {"requests_per_minute": 10.5, "tokens_per_minute": 2000, "max_concurrency": 2}
    assert chosen["limits"]["requests_per_minute"] == 10, "half a request is none"
    [back] = helix_on_database("gate", "set", "--rpm", "0", "--tpm", "0", "--json").document["gates"]
    assert back["chosen"] == {"requests_per_minute": None, "tokens_per_minute": None, "max_concurrency": 2}
    assert back["limits"]["requests_per_minute"] == 300


def test_what_an_operator_does_is_audited_in_their_name(
    helix_on_database: RunHelix, use_gate: UseGate, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut(use_gate(ONE))
    monkeypatch.setenv("LOGNAME", "ada")
    helix_on_database("gate", "set", "--rpm", "10")
    helix_on_database("breaker", "reset")
    lines = connection.execute(
        "SELECT changed FROM helix.audit_log WHERE table_name = 'gate' AND actor = 'ada (helix)' ORDER BY id"
    ).fetchall()
    assert lines[0] == (["chosen_requests_per_minute"],)
    assert "shut_code" in lines[1][0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("gate", "set"), "LIMIT_MISSING"),
        (("gate", "set", "--rpm", "5"), "GATE_AMBIGUOUS"),
        (("gate", "set", "--rpm", "5", "--gate", "cc"), "GATE_UNKNOWN"),
        (("breaker", "reset", "--gate", "cc"), "GATE_UNKNOWN"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    helix_on_database: RunHelix, use_gate: UseGate, arguments: tuple[str, ...], code: str
) -> None:
    shut(use_gate(ONE))
    use_gate(TWO)
    before = helix_on_database("gate", "show", "--json").document
    ended = helix_on_database(*arguments)
    assert ended.code == 2
    assert code in ended.stderr
    assert helix_on_database("gate", "show", "--json").document == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--rpm", value) for value in ("-1", "inf", "-inf", "nan", "1e300", "1e-300")),
        *(("--tpm", value) for value in ("inf", "nan")),
        *(("--concurrency", value) for value in ("-1", "inf", "99999999999")),
    ],
)
def test_a_limit_that_is_no_number_of_sense_is_refused_by_its_option(
    helix_on_database: RunHelix, use_gate: UseGate, option: str, value: str
) -> None:
    use_gate(ONE)
    before = helix_on_database("gate", "show", "--json").document
    ended = helix_on_database("gate", "set", option, value, "--json")
    assert ended.code == 2
    assert option in ended.document["error"]["message"]
    assert helix_on_database("gate", "show", "--json").document == before


def test_a_gate_is_named_by_the_beginning_of_its_key(helix_on_database: RunHelix, use_gate: UseGate) -> None:
    use_gate(ONE)
    use_gate(TWO)
    [changed] = helix_on_database("gate", "set", "--rpm", "5", "--gate", "bb", "--json").document["gates"]
    assert changed["key"] == TWO.hex()


def test_the_breaker_says_why_a_service_is_not_asked(helix_on_database: RunHelix, use_gate: UseGate) -> None:
    gate = use_gate(ONE)
    assert "closed" in helix_on_database("breaker", "status").stdout
    for _ in range(gate.limits.failure_threshold):
        request(gate, Outcome.TRANSIENT, message="HTTP 503")
    status = helix_on_database("breaker", "status")
    assert "open" in status.stdout
    assert "HTTP 503" in status.stdout


def test_a_reset_lets_requests_through_again(helix_on_database: RunHelix, use_gate: UseGate) -> None:
    gates = [use_gate(ONE), use_gate(TWO)]
    for gate in gates:
        shut(gate)
    states = [line["state"] for line in helix_on_database("breaker", "status", "--json").document["gates"]]
    assert states == ["shut", "shut"]
    [one] = helix_on_database("breaker", "reset", "--gate", "aa", "--json").document["gates"]
    assert (one["key"], one["state"]) == (ONE.hex(), "closed")
    assert gates[1].acquire(Kind.BULK, 1, ttl=1, max_wait=1, scope="model").verdict is Verdict.SHUT
    assert helix_on_database("breaker", "reset").code == 0
    assert gates[1].acquire(Kind.BULK, 1, ttl=1, max_wait=1, scope="model").verdict is Verdict.GRANTED


@pytest.mark.usefixtures("helix_on_database", "connection")
def test_looking_at_a_gate_loads_nothing_slow() -> None:
    assert slow_modules_of("breaker", "status") == set()
