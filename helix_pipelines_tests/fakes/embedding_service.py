"""A fake embedding service: OpenAI's protocol over loopback HTTP, vectors made of the text's hash, limits, counters, and
faults and outages on demand.

In a test: `with running_fake(latency=0.02) as fake: EmbeddingClient(fake.url, ...)`; the arguments are the fields of
`Behaviour`.

As a process of its own, for benchmarks and for tests that kill things; it prints one JSON line with `url`, `origin`
and `control`, the origin of a second socket that stays open when the service refuses connections:

    python -m helix_pipelines_tests.fakes.embedding_service --port 0 --latency-ms 20 --per-text-ms 0.2 \
        --dimensions 384 --behaviour '{"rpm": 600, "limit_kind": "bucket", "p_error": 0.01}'
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import orjson

from helix_pipelines_tests.fakes.accounting import Arrivals, Counters, OutageKind, Slice, time_slices
from helix_pipelines_tests.fakes.application import EmbeddingServiceApp
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.loopback_server import LoopbackServer, listen, origin_of, running_app, running_server

__all__ = ["EmbeddingServiceApp", "FakeEmbeddingService", "running_app", "running_fake", "running_fake_process"]


class FakeEmbeddingService:
    """A running fake, seen from a test or a benchmark."""

    def __init__(self, origin: str, control: str | None = None) -> None:
        self.origin = origin
        self.url = f"{origin}/v1"
        """What `HELIX_EMBEDDING_URL` would be set to."""
        self._control = httpx.Client(base_url=control or origin, trust_env=False)

    def counters(self) -> Counters:
        return msgspec.json.decode(self._control.get("/counters").content, type=Counters)

    def arrivals(self) -> Arrivals:
        """Every embedding request since the start or the last reset."""
        return msgspec.json.decode(self._control.get("/arrivals").content, type=Arrivals)

    def slices(self, seconds: float = 1.0) -> list[Slice]:
        """Counters per slice of time from the first arrival on."""
        return time_slices(self.arrivals(), seconds)

    def set_faults(self, **changes: Any) -> None:
        """Change fields of `Behaviour`, from the next request on."""
        self._control.post("/faults", json=changes).raise_for_status()

    def outage(self, kind: OutageKind = "503", *, after: float = 0.0, seconds: float | None = None) -> None:
        """Be out `after` seconds from now, for `seconds` or until `end_outage`; an outage planned before is ended.

        One that begins at once has begun when this returns.
        """
        order = {"kind": kind, "after": after, "seconds": seconds}
        self._control.post("/outage", json=order).raise_for_status()

    def end_outage(self) -> None:
        """End the outage under way, or forget the planned one; the service answers when this returns."""
        self._control.delete("/outage").raise_for_status()

    def reset(self) -> None:
        """Counters and log to zero, limits unused, behaviour as at the start, no outage."""
        self._control.post("/reset").raise_for_status()

    def close(self) -> None:
        self._control.close()


@contextmanager
def running_fake(**behaviour: Any) -> Iterator[FakeEmbeddingService]:
    """A fake in a thread of this process; the arguments are fields of `Behaviour`."""
    app = EmbeddingServiceApp(Behaviour(**behaviour))
    with listen(0) as listener, listen(0) as control, running_server(LoopbackServer(app, listener, control)):
        fake = FakeEmbeddingService(origin_of(listener), origin_of(control))
        try:
            yield fake
        finally:
            fake.close()


@contextmanager
def running_fake_process(
    behaviour: Mapping[str, Any] | None = None, **options: float | str
) -> Iterator[FakeEmbeddingService]:
    """A fake in a process of its own, which takes no time of the caller's interpreter.

    `behaviour` has fields of `Behaviour`; the other arguments are the command line's, such as `latency_ms=20`.
    """
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    arguments.append(f"--behaviour={orjson.dumps(behaviour or {}).decode()}")
    command = [sys.executable, "-m", "helix_pipelines_tests.fakes.embedding_service", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            places = orjson.loads(process.stdout.readline())
            fake = FakeEmbeddingService(places["origin"], places["control"])
            yield fake
            fake.close()
        finally:
            process.terminate()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="Fake embedding service on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float)
    parser.add_argument("--per-text-ms", type=float)
    parser.add_argument("--dimensions", type=int)
    parser.add_argument("--api-key")
    parser.add_argument("--behaviour", type=orjson.loads, default={}, help="JSON object of the fields of Behaviour")
    options = parser.parse_args()
    fields = {
        "latency": options.latency_ms and options.latency_ms / 1000,
        "per_text": options.per_text_ms and options.per_text_ms / 1000,
        "dimensions": options.dimensions,
        "api_key": options.api_key,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = set(options.behaviour) - set(Behaviour.__struct_fields__)
    if unknown:
        parser.error(f"no such behaviour: {', '.join(sorted(unknown))}")
    app = EmbeddingServiceApp(msgspec.convert(options.behaviour | given, Behaviour))
    listener, control = listen(options.port), listen(0)
    origin = origin_of(listener)
    places = {"url": f"{origin}/v1", "origin": origin, "control": origin_of(control)}
    print(orjson.dumps(places).decode(), flush=True)  # noqa: T201 - the contract
    LoopbackServer(app, listener, control).serve_until_told()


if __name__ == "__main__":
    main()
