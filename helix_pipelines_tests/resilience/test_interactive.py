"""A person's request goes now or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from helix_pipelines.resilience.errors import GlobalError, ItemError, TimedOutError, TransientError, UnavailableError
from helix_pipelines.resilience.gate import Kind, Outcome
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.interactive import call_now
from helix_pipelines_tests.resilience.conftest import MakeGate
from helix_pipelines_tests.resilience.live_gate import SCOPE, LiveGate, Reply, Service

SECONDS = 0.5


def search(gate: LiveGate, service: Service, seconds: float = SECONDS) -> Reply:
    return call_now(gate.gate, service.send, tokens=1, scope=SCOPE, deadline=time.monotonic() + seconds)


def refused(gate: LiveGate, service: Service, seconds: float = SECONDS) -> str:
    """Why a search is not sent, which it says within its deadline and without taking a place."""
    began = time.monotonic()
    taken = gate.leases()
    with pytest.raises(UnavailableError) as caught:
        search(gate, service, seconds)
    assert time.monotonic() - began < max(0, seconds) + 0.2
    assert (caught.value.code, service.asked, gate.leases()) == ("SERVICE_UNAVAILABLE", [], taken)
    return caught.value.message


def test_an_answer_comes_back_within_the_deadline_and_frees_the_place(gate: LiveGate, service: Service) -> None:
    assert search(gate, service) == Reply()
    assert 0 < service.allowed[0] <= SECONDS
    assert gate.leases() == 0


def test_a_budget_in_use_leaves_one_request_for_a_person(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(requests_per_minute=10, max_concurrency=20))
    for _ in range(10):
        gate.gate.acquire(Kind.BULK, 1, ttl=60, max_wait=1e9, scope=SCOPE)
    assert search(gate, service) == Reply()
    service.asked.clear()
    assert "its budget is in use" in refused(gate, service)


def test_a_place_that_becomes_free_in_time_is_used(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(max_concurrency=1))
    gate.hold(0.2)
    assert search(gate, service) == Reply()


def test_places_that_stay_taken_are_given_up(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(max_concurrency=1))
    gate.hold()
    assert "all its places are taken" in refused(gate, service, 0.3)


def test_a_service_that_does_not_answer_is_not_waited_for(gate: LiveGate, service: Service) -> None:
    gate.keep_open()
    assert "it does not answer" in refused(gate, service)


def test_a_service_that_wants_to_be_left_alone_is(gate: LiveGate, service: Service) -> None:
    gate.report(Outcome.LIMITED, wait=30.0)
    assert "it asked to be left alone" in refused(gate, service)


def test_a_day_whose_budget_is_used_up_has_no_searches_by_vectors(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(tokens_per_day=0))
    assert "budget of the day" in refused(gate, service)


def test_a_shut_gate_is_named(gate: LiveGate, service: Service) -> None:
    gate.report(Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
    with pytest.raises(GlobalError, match=r"KEY_REFUSED: Check the key\."):
        search(gate, service)


def test_no_time_left_sends_nothing_that_would_wait(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(max_concurrency=1))
    gate.hold()
    refused(gate, service, -1.0)


def test_a_turn_that_is_blocked_while_it_is_waited_for_is_not_used(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(requests_per_minute=600, period_seconds=0.2, max_concurrency=5))
    for _ in range(2):
        gate.gate.acquire(Kind.INTERACTIVE, 1, ttl=60, max_wait=0, scope=SCOPE)
    sent = gate.gate.acquire(Kind.BULK, 1, ttl=60, max_wait=1e9, scope=SCOPE)
    assert sent.wait > 0
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(search, gate, service, 4.0)
        time.sleep(0.1)
        gate.block(60)
        with pytest.raises(UnavailableError, match="changed while"):
            waiting.result(10)
    assert (service.asked, gate.leases()) == ([], 3)


class TestWhatTheServiceAnswers:
    def test_a_refusal_and_a_failure_are_raised_and_reported(self, gate: LiveGate, service: Service) -> None:
        service.script = [ItemError("TEXT_REFUSED", "no"), *[TransientError("DOWN", "down")] * 5]
        with pytest.raises(ItemError):
            search(gate, service)
        for _ in range(5):
            with pytest.raises(TransientError):
                search(gate, service)
        service.asked.clear()
        assert "does not answer" in refused(gate, service)

    def test_slowness_for_a_person_is_no_fault(self, gate: LiveGate, service: Service) -> None:
        service.script = [TimedOutError("SLOW", "slow")] * 8
        for _ in range(8):
            with pytest.raises(TimedOutError):
                search(gate, service)
        assert search(gate, service) == Reply()

    def test_but_it_is_for_a_probe(self, gate: LiveGate, service: Service) -> None:
        gate.open_breaker()
        time.sleep(0.51)
        service.script = [TimedOutError("SLOW", "slow")]
        with pytest.raises(TimedOutError):
            search(gate, service)
        service.asked.clear()
        assert "does not answer" in refused(gate, service)


def test_without_the_database_nothing_is_sent(gate: LiveGate, service: Service) -> None:
    gate.refused.set()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        search(gate, service)
    assert service.asked == []
