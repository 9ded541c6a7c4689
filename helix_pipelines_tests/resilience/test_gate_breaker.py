"""A failing service is left alone and probed by one request at a time; what it says of itself counts for everybody."""

from __future__ import annotations

from typing import Any

import pytest

from helix_pipelines.resilience.errors import ItemError
from helix_pipelines.resilience.gate import Answer, Kind, Outcome, Verdict, failure
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.rate_headers import RateHeaders
from helix_pipelines_tests.resilience.held_clock import HeldClock, HeldGate

UNLIMITED = GateLimits(max_concurrency=50)
THRESHOLD = UNLIMITED.failure_threshold


@pytest.fixture
def gate(clock: HeldClock) -> HeldGate:
    """A gate without limits."""
    return HeldGate.of(clock, UNLIMITED)


def limited(clock: HeldClock, **limits: Any) -> HeldGate:
    return HeldGate.of(clock, GateLimits(**limits))


def opened(clock: HeldClock, **limits: Any) -> HeldGate:
    gate = limited(clock, max_concurrency=50, **limits)
    gate.fail(THRESHOLD)
    return gate


def probe(gate: HeldGate) -> Answer:
    """Wait for the next probe and take it."""
    answer = gate.ask()
    if answer.verdict is Verdict.OPEN:
        gate.wait(answer.wait)
        answer = gate.ask()
    assert answer.is_probe
    return answer


class TestTheBreaker:
    def test_it_opens_after_failures_in_a_row(self, gate: HeldGate) -> None:
        gate.fail(THRESHOLD - 1)
        assert gate.ask().verdict is Verdict.GRANTED
        gate.fail(1)
        answer = gate.ask()
        assert (answer.verdict, answer.code, answer.message) == (Verdict.OPEN, "SERVICE_DOWN", "503")
        assert answer.wait == pytest.approx(0.5)

    def test_a_success_in_between_begins_the_count_again(self, gate: HeldGate) -> None:
        gate.fail(THRESHOLD - 1)
        gate.wait(0.01)
        gate.request()
        gate.fail(THRESHOLD - 1)
        assert gate.ask().verdict is Verdict.GRANTED

    def test_a_slow_success_from_before_the_last_failure_says_nothing(self, gate: HeldGate) -> None:
        slow = gate.grant()
        gate.wait(1)
        gate.fail(THRESHOLD - 1)
        gate.end(slow)
        gate.fail(1)
        assert gate.ask().verdict is Verdict.OPEN

    def test_a_refused_text_shows_a_working_service(self, gate: HeldGate) -> None:
        gate.fail(THRESHOLD - 1)
        gate.wait(0.01)
        gate.request(failure(ItemError("TEXT_REFUSED", "no")).outcome)
        assert gate.row()["failures"] == 0

    def test_being_limited_is_no_failure(self, gate: HeldGate) -> None:
        for _ in range(2 * THRESHOLD):
            gate.request(Outcome.LIMITED, wait=0.0)
        assert gate.row()["failures"] == 0
        assert gate.ask().verdict is Verdict.GRANTED

    def test_outcomes_of_requests_from_before_it_turned_are_ignored(self, clock: HeldClock) -> None:
        gate = limited(clock, max_concurrency=50)
        late = [gate.grant() for _ in range(3)]
        gate.fail(THRESHOLD)
        before = gate.row()
        gate.end(late[0])
        gate.end(late[1], Outcome.TRANSIENT, message="late")
        gate.end(late[2], Outcome.GLOBAL, code="KEY_REFUSED", message="late")
        assert gate.row() == before

    def test_one_request_at_a_time_finds_out(self, clock: HeldClock) -> None:
        gate = opened(clock)
        assert not gate.ask().is_probe
        first = probe(gate)
        others = [gate.ask() for _ in range(3)]
        assert {answer.verdict for answer in others} == {Verdict.OPEN}
        assert all(answer.wait <= 0.1 for answer in others), "they learn soon what it found"
        assert gate.row()["breaker"] == "half_open"
        gate.end(first)
        assert [gate.ask().is_probe for _ in range(3)] == [False, False, False]
        assert gate.row()["breaker"] == "closed"

    def test_each_failed_probe_doubles_the_wait_up_to_the_cap(self, clock: HeldClock) -> None:
        gate = opened(clock, probe_cap_seconds=3.0)
        waits = [gate.ask().wait]
        for _ in range(4):
            gate.end(probe(gate), Outcome.TRANSIENT, message="still down")
            waits.append(gate.ask().wait)
        assert waits == pytest.approx([0.5, 1.0, 2.0, 3.0, 3.0])

    def test_the_next_outage_begins_with_short_waits_again(self, clock: HeldClock) -> None:
        gate = opened(clock)
        gate.end(probe(gate), Outcome.TRANSIENT)
        gate.end(probe(gate))
        gate.fail(THRESHOLD)
        assert gate.ask().wait == pytest.approx(0.5)

    @pytest.mark.parametrize("outcome", [Outcome.LIMITED, Outcome.GLOBAL])
    def test_any_answer_to_a_probe_closes_it(self, clock: HeldClock, outcome: Outcome) -> None:
        gate = opened(clock)
        gate.end(probe(gate), outcome, code="KEY_REFUSED", message="put the key right")
        assert gate.row()["breaker"] == "closed"
        assert gate.ask().verdict is (Verdict.SHUT if outcome is Outcome.GLOBAL else Verdict.BLOCKED)

    def test_a_probe_whose_process_was_killed_gives_its_place_back(self, clock: HeldClock) -> None:
        gate = opened(clock)
        gate.wait(0.5)
        assert gate.grant(ttl=10).is_probe
        gate.wait(9)
        assert gate.ask().verdict is Verdict.OPEN
        gate.wait(1.1)
        assert [gate.ask().is_probe for _ in range(2)] == [True, False]

    def test_a_probe_that_was_not_sent_leaves_its_place_at_once(self, clock: HeldClock) -> None:
        gate = opened(clock)
        gate.end(probe(gate), Outcome.ABANDONED)
        assert gate.ask().is_probe
        assert gate.row()["probe_wait"] == pytest.approx(0.5)

    def test_a_grant_from_before_it_opened_does_not_hold(self, gate: HeldGate) -> None:
        grant = gate.grant()
        assert gate.holds(grant)
        gate.fail(THRESHOLD)
        assert not gate.holds(grant)


class TestWhatTheServiceSays:
    def test_everybody_waits_for_as_long_as_it_asks(self, gate: HeldGate) -> None:
        waiting = gate.grant()
        gate.request(Outcome.LIMITED, wait=7.0)
        answer = gate.ask(kind=Kind.INTERACTIVE)
        assert answer.verdict is Verdict.BLOCKED
        assert answer.wait == pytest.approx(7)
        assert not gate.holds(waiting)
        gate.wait(7.001)
        assert gate.ask().verdict is Verdict.GRANTED
        assert gate.holds(waiting)

    def test_a_refusal_that_names_no_time_means_a_second(self, gate: HeldGate) -> None:
        gate.request(Outcome.LIMITED)
        assert gate.ask().wait == pytest.approx(1)

    def test_the_longest_wait_counts(self, gate: HeldGate) -> None:
        both = [gate.grant(), gate.grant()]
        gate.end(both[0], Outcome.LIMITED, wait=9.0)
        gate.end(both[1], Outcome.LIMITED, wait=2.0)
        assert gate.ask().wait == pytest.approx(9)

    def test_limits_that_it_tells_hold_at_once_if_they_are_lower(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=600, max_concurrency=50)
        gate.request(headers=RateHeaders(limit_requests=6, remaining_requests=5))
        gate.wait(60)
        gate.grant()
        assert gate.grant().wait == pytest.approx(60.8 / 5 - 0.5, abs=1e-4)

    def test_limits_that_it_tells_do_not_raise_what_is_configured(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=6, max_concurrency=50)
        gate.request(headers=RateHeaders(limit_requests=600, remaining_requests=599))
        gate.wait(60)
        gate.grant()
        assert gate.grant().wait == pytest.approx(60.8 / 5 - 0.5, abs=1e-4)

    def test_tokens_that_it_tells_hold_where_no_limit_is_configured(self, gate: HeldGate) -> None:
        gate.request(tokens=100, headers=RateHeaders(limit_tokens=1000, remaining_tokens=900))
        gate.grant(100)
        assert gate.grant(100).wait > 5

    def test_less_left_than_is_under_way_means_that_somebody_else_uses_the_key(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=60, max_concurrency=50)
        gate.request(headers=RateHeaders(limit_requests=60, remaining_requests=0))
        assert gate.ask().verdict is Verdict.BLOCKED
        assert gate.ask().wait == pytest.approx(1)

    def test_tokens_that_are_not_left_are_waited_for(self, clock: HeldClock) -> None:
        gate = limited(clock, tokens_per_minute=6000)
        gate.request(tokens=500, headers=RateHeaders(limit_tokens=6000, remaining_tokens=100))
        assert gate.ask().wait == pytest.approx(4)

    def test_enough_left_blocks_nobody(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=60, max_concurrency=50)
        gate.request(headers=RateHeaders(limit_requests=60, remaining_requests=1, remaining_tokens=0))
        assert gate.ask().verdict is Verdict.GRANTED


class TestAShutGate:
    def test_it_stays_shut_until_an_operator_acts_and_says_why(self, gate: HeldGate) -> None:
        waiting = gate.grant()
        gate.request(Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
        gate.wait(1e6)
        answer = gate.ask()
        assert (answer.verdict, answer.code, answer.message) == (Verdict.SHUT, "KEY_REFUSED", "Check the key.")
        assert not gate.holds(waiting)

    def test_calls_of_another_model_pass_and_their_grants_hold(self, gate: HeldGate) -> None:
        gate.request(Outcome.GLOBAL, code="MODEL_UNKNOWN", message="no such model")
        gate.scope = "another"
        assert gate.holds(gate.grant())

    def test_it_is_shut_for_the_model_that_was_refused_last(self, gate: HeldGate) -> None:
        for scope in ("model", "another"):
            gate.scope = scope
            gate.request(Outcome.GLOBAL, code="KEY_REFUSED", message="Check the key.")
            assert gate.ask().verdict is Verdict.SHUT

    def test_an_outage_does_not_hide_why_it_is_shut(self, gate: HeldGate) -> None:
        gate.request(Outcome.GLOBAL, code="MODEL_UNKNOWN", message="no such model")
        gate.scope = "another"
        gate.fail(THRESHOLD)
        gate.end(probe(gate))
        gate.scope = "model"
        assert gate.ask().message == "no such model"
