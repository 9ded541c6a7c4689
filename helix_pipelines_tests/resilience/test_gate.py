"""One row in the database is the budget of a service, on a clock that only the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from helix_pipelines.resilience.errors import GlobalError, ItemError, LimitedError, TransientError
from helix_pipelines.resilience.gate import LONGEST_BLOCK, Kind, Outcome, Verdict, failure, success
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.resilience.rate_headers import NO_HEADERS, RateHeaders
from helix_pipelines_tests.resilience.held_clock import BEGINNING, HeldClock, HeldGate

UNLIMITED = GateLimits(max_concurrency=50)


@pytest.fixture
def gate(clock: HeldClock) -> HeldGate:
    """A gate without limits."""
    return HeldGate.of(clock, UNLIMITED)


def limited(clock: HeldClock, **limits: Any) -> HeldGate:
    return HeldGate.of(clock, GateLimits(**limits))


class TestTheBudget:
    def test_requests_are_spread_over_the_period(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=61, max_concurrency=50)
        waits = [gate.grant().wait for _ in range(4)]
        interval = 60.8 / 60
        assert waits == pytest.approx([0, interval - 0.5, 2 * interval - 0.5, 3 * interval - 0.5], abs=1e-5)

    def test_a_part_of_a_request_is_none(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=2.9, max_concurrency=50)
        assert [gate.grant().wait < 60 for _ in range(3)] == [True, False, False]

    def test_a_limit_below_one_request_a_period_is_a_pace(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=0.5)
        assert gate.grant().wait == 0
        assert gate.grant().wait == pytest.approx(121.6 - 0.5, abs=1e-5)

    def test_a_turn_that_comes_too_late_for_the_caller_reserves_nothing(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=2)
        gate.grant()
        refused = [gate.ask(max_wait=10) for _ in range(3)]
        assert {answer.verdict for answer in refused} == {Verdict.LATE}
        assert gate.grant(max_wait=refused[0].wait).wait == refused[0].wait

    def test_a_request_larger_than_those_before_waits_for_what_it_has_beyond_them(self, clock: HeldClock) -> None:
        gate = limited(clock, tokens_per_minute=10_000, max_concurrency=50)
        for _ in range(12):
            gate.wait(gate.grant(100).wait)
        assert gate.grant(9_500).wait > 60

    def test_a_request_of_nearly_the_whole_limit_gets_its_turn(self, clock: HeldClock) -> None:
        gate = limited(clock, tokens_per_minute=10_000)
        assert gate.grant(9_900).wait == 0
        assert gate.grant(9_900).wait > 60

    def test_no_more_requests_than_allowed_are_under_way(self, clock: HeldClock) -> None:
        gate = limited(clock, max_concurrency=2)
        first, _ = gate.grant(), gate.grant()
        assert gate.ask().verdict is Verdict.BUSY
        gate.end(first)
        assert gate.ask().verdict is Verdict.GRANTED

    def test_a_dead_holder_gives_its_place_back_when_its_lease_ends(self, clock: HeldClock) -> None:
        gate = limited(clock, max_concurrency=1)
        grant = gate.grant(ttl=10)
        gate.wait(9.9)
        assert gate.holds(grant)
        assert gate.ask().verdict is Verdict.BUSY
        gate.wait(0.2)
        assert not gate.holds(grant)
        assert gate.ask().verdict is Verdict.GRANTED

    def test_what_the_service_counted_corrects_the_account(self, clock: HeldClock) -> None:
        waits = {}
        for counted in (500, 1000, 2000):
            gate = limited(clock, tokens_per_minute=100_000, max_concurrency=50)
            gate.request(tokens=1000)
            gate.end(gate.grant(1000), tokens=counted)
            waits[counted] = gate.grant(1).wait
        assert waits[500] < waits[1000] < waits[2000]

    def test_estimates_are_corrected_by_what_the_service_counts(self, clock: HeldClock) -> None:
        gate = limited(clock, tokens_per_minute=1e9)
        for _ in range(30):
            gate.end(gate.grant(1000), tokens=1500)
        assert gate.row()["token_ratio"] == pytest.approx(1.5, rel=0.01)

    def test_short_searches_do_not_distort_the_estimates_of_large_batches(self, clock: HeldClock) -> None:
        gate = limited(clock, tokens_per_minute=1e9)
        gate.end(gate.grant(10_000), tokens=10_000)
        for _ in range(30):
            gate.end(gate.grant(1, kind=Kind.INTERACTIVE), tokens=6)
        assert gate.row()["token_ratio"] == pytest.approx(1, rel=0.02)


class TestTheReserveOfSearches:
    def test_one_request_a_period_is_always_left_for_a_search(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=10, max_concurrency=50)
        for _ in range(20):
            gate.grant()
        assert gate.grant(kind=Kind.INTERACTIVE, max_wait=0.5).wait == 0
        assert gate.ask(kind=Kind.INTERACTIVE, max_wait=0.5).verdict is Verdict.LATE

    def test_a_twentieth_is_theirs_once_all_others_have_kept_out_of_it(self, clock: HeldClock) -> None:
        gate = limited(clock, requests_per_minute=60, max_concurrency=1000)
        for _ in range(120):
            gate.grant()

        def searches() -> int:
            verdicts = [gate.ask(kind=Kind.INTERACTIVE, max_wait=0.5).verdict for _ in range(5)]
            return verdicts.count(Verdict.GRANTED)

        now = [searches()]
        for _ in range(4):
            gate.wait(62)
            for _ in range(60):
                gate.grant()
            now.append(searches())
        assert now == [1, 1, 1, 2, 2], "what was granted two periods ahead is not called back"

    def test_while_people_search_one_place_is_theirs(self, clock: HeldClock) -> None:
        gate = limited(clock, max_concurrency=2)
        gate.request()
        gate.end(gate.grant(kind=Kind.INTERACTIVE))
        gate.grant()
        assert gate.ask().verdict is Verdict.BUSY
        assert gate.ask(kind=Kind.INTERACTIVE).verdict is Verdict.GRANTED

    def test_ten_minutes_after_the_last_search_all_is_for_everybody(self, clock: HeldClock) -> None:
        gate = limited(clock, max_concurrency=1000, requests_per_minute=100)

        def granted_a_minute() -> int:
            gate.wait(1000)
            return sum(gate.grant().wait < 60 for _ in range(101))

        assert granted_a_minute() == 99
        gate.grant(kind=Kind.INTERACTIVE)
        gate.wait(599)
        for _ in range(95):
            gate.grant()
        assert gate.grant().wait > 60
        assert granted_a_minute() == 99


class TestTheBudgetOfTheDay:
    NOON = 0.0
    MIDNIGHT = 12 * 3600.0

    @pytest.fixture
    def gate(self, clock: HeldClock) -> HeldGate:
        clock.now = self.NOON
        return limited(clock, tokens_per_day=1000, max_concurrency=50)

    def test_it_ends_before_it_is_passed_and_begins_again_at_midnight_utc(self, gate: HeldGate) -> None:
        gate.request(tokens=900)
        answer = gate.ask(101)
        assert answer.verdict is Verdict.SPENT
        assert answer.wait == pytest.approx(12 * 3600)
        assert gate.ask(100).verdict is Verdict.GRANTED
        gate.wait(answer.wait)
        assert datetime.fromtimestamp(BEGINNING.timestamp() + gate.clock.now, UTC).hour == 0
        gate.grant(1000)
        assert gate.ask().verdict is Verdict.SPENT

    def test_what_the_service_counted_and_what_was_not_sent_is_settled(self, gate: HeldGate) -> None:
        gate.end(gate.grant(400), tokens=300)
        gate.end(gate.grant(400), Outcome.ABANDONED)
        gate.end(gate.grant(400), Outcome.LIMITED, wait=0.0)
        gate.end(gate.grant(400), Outcome.TRANSIENT)
        assert gate.row()["day_tokens"] == 300 + round(400 * gate.row()["token_ratio"])

    def test_what_was_under_way_at_midnight_is_not_given_back_to_the_new_day(self, gate: HeldGate) -> None:
        late = gate.grant(900)
        gate.wait(self.MIDNIGHT)
        gate.request(tokens=500)
        gate.end(late, tokens=100)
        assert gate.row()["day_tokens"] == 500


class TestSettings:
    def test_a_process_that_starts_later_with_other_limits_is_believed(self, gate: HeldGate) -> None:
        gate.grant()
        again = gate.with_limits(max_concurrency=1)
        assert again.ask().verdict is Verdict.BUSY

    def test_two_gates_know_nothing_of_each_other(self, clock: HeldClock) -> None:
        one, other = limited(clock), limited(clock)
        one.fail(one.gate.limits.failure_threshold)
        assert (one.ask().verdict, other.ask().verdict) == (Verdict.OPEN, Verdict.GRANTED)

    def test_the_key_names_address_and_secret_without_telling_them(self) -> None:
        key = gate_key("https://api.example.com/v1/", "secret")
        assert key == gate_key("https://api.example.com/v1", "secret")
        assert (
            len({key, gate_key("https://api.example.com/v1", None), gate_key("https://other.example.com", "secret")})
            == 3
        )
        assert b"secret" not in key


@dataclass
class Reply:
    tokens: int
    rate: RateHeaders


class TestReports:
    def test_a_success_reports_tokens_and_limits(self) -> None:
        report = success(Reply(7, RateHeaders(limit_requests=5)))
        assert (report.outcome, report.tokens, report.headers.limit_requests) == (Outcome.SUCCESS, 7, 5)

    def test_every_error_has_its_outcome(self) -> None:
        assert failure(ItemError("A", "a")).outcome is Outcome.SUCCESS
        assert failure(TransientError("A", "down")) == failure(TransientError("B", "down"))
        assert failure(TransientError("A", "down")).message == "down"
        refused = failure(GlobalError("KEY_REFUSED", "Check the key."))
        assert (refused.outcome, refused.code, refused.message) == (Outcome.GLOBAL, "KEY_REFUSED", "Check the key.")

    def test_a_service_cannot_ask_for_more_than_an_hour(self) -> None:
        assert [failure(LimitedError("A", "a", wait)).wait for wait in (None, 5.0, 1e9)] == [None, 5.0, LONGEST_BLOCK]
        assert failure(LimitedError("A", "a")).headers == NO_HEADERS
