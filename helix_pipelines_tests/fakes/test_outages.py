from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from helix_pipelines_tests.fakes.accounting import OutageKind, in_flight_peak
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.embedding_service import EmbeddingServiceApp, FakeEmbeddingService, running_app
from helix_pipelines_tests.fakes.plain_client import ask, side_by_side

KINDS: list[OutageKind] = ["503", "refused", "hang"]


def fails(fake: FakeEmbeddingService, kind: OutageKind) -> bool:
    """Whether the service is out in that way."""
    match kind:
        case "503":
            return ask(fake, ["a"]).status_code == 503
        case "refused":
            with pytest.raises(httpx.ConnectError):
                ask(fake, ["a"])
        case "hang":
            with pytest.raises(httpx.ReadTimeout):
                ask(fake, ["a"], timeout=0.2)
    return True


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_begins_at_once_and_ends_by_command(fake: FakeEmbeddingService, kind: OutageKind) -> None:
    assert ask(fake, ["a"]).status_code == 200
    fake.outage(kind)
    assert fails(fake, kind)
    assert fails(fake, kind)
    assert fake.counters().outages[0].ended is None, "it can be controlled all the time"
    fake.end_outage()
    assert ask(fake, ["a"]).status_code == 200

    (outage,) = fake.counters().outages
    assert outage.kind == kind
    assert outage.requests == (0 if kind == "refused" else 2)
    assert outage.ended is not None
    assert outage.first_success is not None
    assert outage.began < outage.ended <= outage.first_success


@pytest.mark.parametrize("kind", KINDS)
def test_a_planned_outage_comes_and_goes_by_itself(fake: FakeEmbeddingService, kind: OutageKind) -> None:
    ordered = time.monotonic()
    fake.outage(kind, after=0.3, seconds=0.5)
    assert ask(fake, ["a"]).status_code == 200
    assert fake.counters().outages == []
    assert eventually(lambda: bool(fake.counters().outages))
    assert fails(fake, kind)
    assert eventually(lambda: fake.counters().outages[0].ended is not None)

    assert ask(fake, ["a"]).status_code == 200
    (outage,) = fake.counters().outages
    assert outage.ended is not None
    assert outage.began - ordered == pytest.approx(0.3, abs=0.15)
    assert outage.ended - outage.began == pytest.approx(0.5, abs=0.15)


def test_refused_connections_cut_those_that_were_open_and_what_was_in_flight_is_not_paid(
    fake: FakeEmbeddingService,
) -> None:
    with httpx.Client(base_url=fake.url, trust_env=False) as client:
        assert client.post("/embeddings", json={"input": "a"}).status_code == 200
        fake.set_faults(latency=30)
        killer = threading.Timer(0.2, fake.outage, ["refused"])
        killer.start()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post("/embeddings", json={"input": "b"})
        killer.join()
        with pytest.raises(httpx.ConnectError):
            client.post("/embeddings", json={"input": "b"})
        fake.end_outage()
        fake.set_faults(latency=0)
        assert client.post("/embeddings", json={"input": "b"}).status_code == 200

    assert fake.arrivals().status == [200, 0, 200]
    assert fake.counters().texts_seen_twice == 0


def test_the_same_port_opens_and_closes_many_times(fake: FakeEmbeddingService) -> None:
    for _ in range(5):
        fake.outage("refused")
        assert fails(fake, "refused")
        fake.end_outage()
        assert ask(fake, ["a"]).status_code == 200

    assert len(fake.counters().outages) == 5


def test_requests_at_the_same_time_during_an_outage_are_counted(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=0.3)
    early = threading.Thread(target=ask, args=(fake, ["early"]))
    early.start()
    assert eventually(lambda: fake.counters().in_flight == 1)
    fake.outage("503")
    side_by_side(lambda: ask(fake, ["a"]), 3)
    early.join()
    fake.end_outage()

    (outage,) = fake.counters().outages
    assert (outage.requests, outage.in_flight_peak, outage.in_flight) == (3, 3, 0)
    assert outage.first_success is None, "what was answered during the outage had begun before it"
    log = fake.arrivals()
    assert sorted(log.status) == [200, 503, 503, 503]
    assert in_flight_peak(log.with_status(503)) == 3


def test_an_outage_is_over_with_the_first_vectors_asked_for_after_it(fake: FakeEmbeddingService) -> None:
    fake.set_faults(latency=0.3)
    early = threading.Thread(target=ask, args=(fake, ["early"]))
    early.start()
    assert eventually(lambda: fake.counters().in_flight == 1)
    fake.outage("503", seconds=0)
    early.join()
    fake.set_faults(latency=0)
    assert ask(fake, [""]).status_code == 400
    assert fake.counters().outages[0].first_success is None
    assert ask(fake, ["a"]).status_code == 200
    assert fake.counters().outages[0].first_success is not None


def test_a_planned_outage_can_be_called_off_or_replaced(fake: FakeEmbeddingService) -> None:
    fake.outage("503", after=0.2)
    fake.end_outage()
    fake.outage("503", after=0.2)
    fake.outage("hang", after=30)
    time.sleep(0.3)

    assert ask(fake, ["a"]).status_code == 200
    assert fake.counters().outages == []


@pytest.mark.parametrize("kind", KINDS)
def test_reset_ends_an_outage(fake: FakeEmbeddingService, kind: OutageKind) -> None:
    fake.outage(kind)
    fake.reset()

    assert ask(fake, ["a"]).status_code == 200
    assert fake.counters().outages == []


def test_an_outage_that_cannot_be_is_refused(fake: FakeEmbeddingService) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        fake.outage("strike")  # type: ignore[arg-type]
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        fake.outage("503", seconds=-1)
    order = httpx.post(f"{fake.origin}/outage", json={"kind": "refused"}, trust_env=False)
    assert order.status_code == 400, "the answer could not be sent"


def test_a_service_without_a_control_socket_does_not_lock_itself_in() -> None:
    with running_app(EmbeddingServiceApp(Behaviour())) as origin:
        assert httpx.post(f"{origin}/outage", json={"kind": "refused"}, trust_env=False).status_code == 400
        assert httpx.post(f"{origin}/outage", json={"kind": "503"}, trust_env=False).status_code == 200
        assert httpx.post(f"{origin}/v1/embeddings", json={"input": "a"}, trust_env=False).status_code == 503
