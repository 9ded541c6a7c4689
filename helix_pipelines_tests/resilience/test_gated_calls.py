"""Calls that wait for their turn at a real gate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest

from helix_pipelines.resilience import gated_calls
from helix_pipelines.resilience.errors import (
    GlobalError,
    HelixError,
    ItemError,
    LimitedError,
    TransientError,
    UnavailableError,
)
from helix_pipelines.resilience.gate import Kind, Outcome, Report, Verdict
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.gated_calls import GatedCalls, StoppedError
from helix_pipelines.resilience.rate_headers import NO_HEADERS
from helix_pipelines_tests.resilience.conftest import MakeGate
from helix_pipelines_tests.resilience.live_gate import SCOPE, LiveGate, Reply, Service

PACED = GateLimits(requests_per_minute=600, period_seconds=0.2, max_concurrency=4)
"""Two requests in 0.2 s, one of them kept for searches: the next one waits for half a second."""


def calls_of(gate: LiveGate, patience: float = 10.0) -> GatedCalls:
    return GatedCalls(gate.another(), SCOPE, patience=patience)


def call(calls: GatedCalls, service: Service, timeout: float = 5.0) -> Reply:
    return calls.call(service.send, 1, timeout)


def eventually(is_true: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_an_answer_comes_back_and_frees_the_place(gate: LiveGate, service: Service) -> None:
    assert call(calls_of(gate), service) == Reply()
    assert gate.leases() == 0


def test_waiting_for_the_turn_does_not_count_against_the_deadline(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(PACED)
    calls = calls_of(gate)
    for _ in range(2):
        call(calls, service, timeout=0.25)
    assert service.asked[1] - service.asked[0] > 0.4
    assert service.allowed == pytest.approx([0.25, 0.25], abs=0.05)


def test_every_try_takes_a_turn_and_the_working_time_of_all_is_bounded(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(PACED)
    service.script = [LimitedError("SLOWER", "slower", 0.01), Reply()]
    call(calls_of(gate), service, timeout=0.3)
    first, second = service.asked
    assert second - first > 0.4
    assert service.allowed[1] <= service.allowed[0]


def test_a_passing_failure_is_tried_again(gate: LiveGate, service: Service) -> None:
    service.script = [TransientError("DOWN", "down")]
    assert call(calls_of(gate), service) == Reply()
    assert len(service.asked) == 2


@pytest.mark.parametrize("error", [ItemError("TEXT_REFUSED", "no"), GlobalError("KEY_REFUSED", "no")])
def test_a_refusal_is_not_tried_again_and_frees_the_place(gate: LiveGate, service: Service, error: HelixError) -> None:
    service.script = [error]
    with pytest.raises(type(error)):
        call(calls_of(gate), service)
    assert (len(service.asked), gate.leases()) == (1, 0)


def test_a_defect_of_the_caller_frees_the_place_and_blames_nobody(gate: LiveGate, service: Service) -> None:
    service.script = [lambda: Reply(1 // 0, NO_HEADERS)] * 6
    calls = calls_of(gate)
    for _ in range(6):
        with pytest.raises(ZeroDivisionError):
            call(calls, service)
    assert gate.leases() == 0
    assert call(calls, service) == Reply()


class TestAServiceThatIsAway:
    def test_is_waited_for_as_long_as_patience_lasts(self, gate: LiveGate, service: Service) -> None:
        gate.keep_open()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"does not answer\. 503") as caught:
            call(calls_of(gate, patience=1.2), service)
        assert time.monotonic() - began > 0.9
        assert caught.value.code == "SERVICE_DOWN"
        assert caught.value.retry_in == pytest.approx(3600, abs=5)
        assert service.asked == []

    def test_is_used_again_once_a_probe_succeeded(self, gate: LiveGate, service: Service) -> None:
        gate.open_breaker()
        began = time.monotonic()
        assert call(calls_of(gate), service) == Reply()
        assert time.monotonic() - began < 1.5

    def test_asks_to_be_left_alone_for_longer_than_patience_lasts(self, gate: LiveGate, service: Service) -> None:
        gate.report(Outcome.LIMITED, wait=90.0)
        with pytest.raises(UnavailableError, match="left alone for 90 s") as caught:
            call(calls_of(gate, patience=0), service)
        assert caught.value.code == "SERVICE_BLOCKED"
        assert caught.value.retry_in == pytest.approx(90, abs=5)

    def test_is_asked_again_after_the_time_that_it_named(self, gate: LiveGate, service: Service) -> None:
        service.script = [LimitedError("SLOWER", "slower", 0.3)]
        call(calls_of(gate), service)
        first, second = service.asked
        assert 0.3 <= second - first < 1

    def test_the_next_outage_gets_all_patience_again_whatever_answer_ended_the_last_one(
        self, gate: LiveGate, service: Service
    ) -> None:
        calls = calls_of(gate, patience=1.1)
        service.script = [LimitedError("SLOWER", "slower", 0.1), ItemError("TEXT_REFUSED", "no")]
        with pytest.raises(ItemError):
            call(calls, service)
        time.sleep(0.3)
        service.script = [LimitedError("SLOWER", "slower", 0.9)]
        assert call(calls, service) == Reply()


def test_a_shut_gate_says_what_to_do(gate: LiveGate, service: Service) -> None:
    gate.report(Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
    with pytest.raises(GlobalError, match=r"KEY_REFUSED: Check the key\. Then run `helix breaker reset`\."):
        call(calls_of(gate), service)
    assert service.asked == []


def test_a_gate_that_is_shut_for_another_model_lets_paced_calls_pass(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(PACED)
    gate.report(Outcome.GLOBAL, code="MODEL_UNKNOWN", message="no such model")
    calls = GatedCalls(gate.another(), "another", patience=10)
    assert call(calls, service) == Reply()


def test_the_budget_of_a_day_ends_the_work_until_the_next(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(GateLimits(tokens_per_day=1))
    calls = calls_of(gate)
    call(calls, service)
    with pytest.raises(UnavailableError, match="DAY_BUDGET_SPENT") as caught:
        call(calls, service)
    assert caught.value.retry_in is not None
    assert 0 < caught.value.retry_in <= 86_400


def test_a_grant_that_became_invalid_in_its_wait_is_handed_back(make_gate: MakeGate, service: Service) -> None:
    gate = make_gate(PACED)
    calls = calls_of(gate)
    with ThreadPoolExecutor() as pool:
        call(calls, service)
        waiting = pool.submit(call, calls, service)
        eventually(lambda: gate.leases() == 1)
        other = gate.gate
        held = other.acquire(Kind.INTERACTIVE, 1, ttl=60, max_wait=1, scope=SCOPE)
        assert held.lease is not None
        other.release(held.lease, Report(Outcome.LIMITED, wait=0.8), SCOPE)
        blocked = time.monotonic()
        assert waiting.result(10) == Reply()
    assert service.asked[1] - blocked > 0.75
    assert gate.leases() == 0


class TestStopping:
    def waiting(self, pool: ThreadPoolExecutor, calls: GatedCalls, service: Service, count: int) -> list[Future[Reply]]:
        return [pool.submit(call, calls, service) for _ in range(count)]

    def assert_stops(self, calls: GatedCalls, futures: list[Future[Reply]]) -> None:
        time.sleep(0.05)
        assert not any(future.done() for future in futures)
        stopped = time.monotonic()
        calls.stop()
        for future in futures:
            with pytest.raises(StoppedError):
                future.result(10)
        assert time.monotonic() - stopped < 0.5

    def test_ends_waits_for_a_turn_and_hands_the_grants_back(self, make_gate: MakeGate, service: Service) -> None:
        gate = make_gate(GateLimits(requests_per_minute=2, max_concurrency=8))
        calls = calls_of(gate)
        call(calls, service)
        with ThreadPoolExecutor() as pool:
            futures = self.waiting(pool, calls, service, 3)
            eventually(lambda: gate.leases() == 3)
            self.assert_stops(calls, futures)
        assert (gate.leases(), len(service.asked)) == (0, 1)

    def test_ends_waits_for_a_place(self, make_gate: MakeGate, service: Service) -> None:
        gate = make_gate(GateLimits(max_concurrency=1))
        gate.hold()
        calls = calls_of(gate)
        with ThreadPoolExecutor() as pool:
            self.assert_stops(calls, self.waiting(pool, calls, service, 3))
        assert service.asked == []

    def test_ends_waits_for_a_service_that_is_away(self, gate: LiveGate, service: Service) -> None:
        gate.keep_open()
        calls = calls_of(gate)
        with ThreadPoolExecutor() as pool:
            self.assert_stops(calls, self.waiting(pool, calls, service, 3))

    def test_ends_waits_for_a_database_that_is_away(
        self, gate: LiveGate, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gated_calls, "full_jitter", lambda _tries: 20.0)
        gate.refused.set()
        calls = calls_of(gate)
        with ThreadPoolExecutor() as pool:
            self.assert_stops(calls, self.waiting(pool, calls, service, 2))

    def test_lets_a_request_that_is_under_way_end(self, gate: LiveGate, service: Service) -> None:
        sent, may_end = threading.Event(), threading.Event()

        def slow() -> Reply:
            sent.set()
            may_end.wait(10)
            return Reply(7)

        service.script = [slow]
        calls = calls_of(gate)
        with ThreadPoolExecutor() as pool:
            under_way = pool.submit(call, calls, service)
            sent.wait(10)
            calls.stop()
            may_end.set()
            assert under_way.result(10) == Reply(7)
        assert gate.leases() == 0


class TestADatabaseThatIsAway:
    def test_for_a_moment_is_survived_before_a_request(self, gate: LiveGate, service: Service) -> None:
        calls = calls_of(gate)
        call(calls, service)
        assert gate.cut() >= 1
        assert call(calls, service) == Reply()
        assert len(service.asked) == 2

    def test_for_a_moment_costs_no_answer(self, gate: LiveGate, service: Service) -> None:
        def cut() -> Reply:
            gate.cut()
            return Reply(9)

        service.script = [cut]
        assert call(calls_of(gate), service) == Reply(9)
        assert (gate.leases(), len(service.asked)) == (0, 1)

    def test_for_longer_means_that_nothing_is_sent(
        self, gate: LiveGate, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gated_calls, "DATABASE_PATIENCE", 0.1)
        gate.refused.set()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            call(calls_of(gate), service)
        assert service.asked == []


def test_the_places_of_a_dead_process_come_back_within_seconds_and_those_of_a_living_one_do_not(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(GateLimits(max_concurrency=2))
    dying, living = gate.another(), gate.another()
    for process in (dying, living):
        assert process.acquire(Kind.BULK, 1, ttl=100, max_wait=0, scope=SCOPE).verdict is Verdict.GRANTED
    dying.close()
    assert gate.gate.acquire(Kind.BULK, 1, ttl=100, max_wait=0, scope=SCOPE).verdict is Verdict.BUSY
    with psycopg.connect(gate.url) as connection:
        left = connection.execute(
            "SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM helix.gate_lease"
            " WHERE key_hash = %s ORDER BY expires_at",
            [gate.gate.key],
        ).fetchall()
    assert left[0][0] <= 5
    assert left[1][0] > 90
