"""Embedding through the drain, beside a bare script that does the same loop: texts a second, and shares of the script's.

    python benchmarks/drain.py                       20,000 texts, 5 in flight, a service that answers in 20 ms and 0.2 ms a text
    python benchmarks/drain.py --latency-ms 0 --per-text-ms 0 --rounds 5

Three sides in turn, each in a new database of one embedded PostgreSQL, 200 texts a request, one fake service:

    phase   `embed_batch`: passages, claims, gate, checked answers, vectors, pairs served, usage, fences
    drain   the drain, the gate and the client alone, around the script's own reading and storing
    bare    reads rows, sends them from threads, stores by COPY and UPDATE; nothing is checked, limited or repeated
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import struct
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import httpx
import numpy as np
import orjson
import psycopg
from psycopg import sql

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.filling import embed_batch
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.service import EmbeddingService
from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.resilience.drain import Outcome, drain
from helix_pipelines.resilience.gate import Gate, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.resilience.gated_calls import GatedCalls
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.schema import ensure_schema
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake_process
from helix_pipelines_tests.stages import MODEL, Stages

DIMENSIONS = 384
TEXTS_OF_A_REQUEST = 200
TEXTS_OF_A_COMMIT = 1000
"""Of the bare script; the drain commits what arrived in half a second."""
ANSWER = "The answer explains in two sentences what to do. It is about as long as answers in a knowledge base are."

Row = tuple[int, str]


def drained(url: str, fake: FakeEmbeddingService, texts: int, concurrency: int) -> float:
    """Seconds of `embed_batch` for as many new pairs."""
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(url, Path(folder), fake.url)
        rows = [{"question": f"Question {number}: what now?", "answer": ANSWER} for number in range(texts)]
        settings = BatchSettings(max_texts_per_request=TEXTS_OF_A_REQUEST)
        key = stages.begin(stages.write(rows), settings=settings)
        stages.decide(key)
        with (
            _service(url, fake.url, GateLimits(max_concurrency=concurrency)) as service,
            phase(stages.database, key, f"run-{key}", "embeddings") as batch,
        ):
            began = monotonic()
            report = embed_batch(stages.database, batch, service)
            seconds = monotonic() - began
        stages.database.close()
    if report.texts != texts:
        raise RuntimeError(report)
    return seconds


@contextmanager
def _service(url: str, service_url: str, limits: GateLimits) -> Iterator[EmbeddingService]:
    with (
        Gate(lambda: gate_connection(url), gate_key(service_url, None), SERVICE, limits) as gate,
        EmbeddingClient(service_url, None, MODEL, DIMENSIONS, max_connections=limits.max_concurrency) as client,
    ):
        calls = GatedCalls(gate, MODEL, patience=5.0)
        yield EmbeddingService(client, calls, limits, MODEL, DIMENSIONS, batch_timeout=60.0)


def engine(url: str, fake: FakeEmbeddingService, texts: int, concurrency: int) -> float:
    """Seconds of the drain around the bare script's tables."""
    limits = GateLimits(max_concurrency=concurrency)
    with _filled(url, texts) as connection, _service(url, fake.url, limits) as service:

        def store(outcomes: Sequence[Outcome[Row, EmbeddingReply]]) -> None:
            arrived: list[tuple[int, bytes]] = []
            for outcome in outcomes:
                assert outcome.result is not None, outcome.error
                arrived += _packed(outcome.items, outcome.result.packed)
            _store(connection, arrived)

        began = monotonic()
        drain(
            _parts(_pending(connection)),
            lambda rows: service.embed([body for _, body in rows]),
            store,
            concurrency=concurrency,
            sizer=service.sizer(TEXTS_OF_A_REQUEST),
            stop=service.calls.stop,
        )
        return monotonic() - began


def scripted(url: str, fake: FakeEmbeddingService, texts: int, concurrency: int) -> float:
    """Seconds of the bare loop for as many rows."""
    with _filled(url, texts) as connection, _client(concurrency) as client:
        began = monotonic()
        rows = _pending(connection)
        with ThreadPoolExecutor(concurrency) as pool:
            calls = [pool.submit(_embed, client, fake.url, part) for part in _parts(rows)]
            arrived: list[tuple[int, bytes]] = []
            for call in as_completed(calls):
                arrived += call.result()
                if len(arrived) >= TEXTS_OF_A_COMMIT:
                    _store(connection, arrived)
                    arrived = []
            _store(connection, arrived)
        return monotonic() - began


@contextmanager
def _filled(url: str, texts: int) -> Iterator[psycopg.Connection]:
    """A connection to a database with as many rows to embed."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE bare (id bigint PRIMARY KEY, body text NOT NULL, vector halfvec)")
        connection.execute("CREATE TEMP TABLE arrived (id bigint, vector halfvec)")
        with connection.cursor() as cursor, cursor.copy("COPY bare (id, body) FROM STDIN") as copy:
            for number in range(texts):
                copy.write_row((number, f"Question {number}: what now?\n{ANSWER}"))
        connection.commit()
        connection.execute("ANALYZE bare")
        yield connection


def _pending(connection: psycopg.Connection) -> list[Row]:
    return connection.execute("SELECT id, body FROM bare WHERE vector IS NULL ORDER BY id").fetchall()


def _client(concurrency: int) -> httpx.Client:
    return httpx.Client(limits=httpx.Limits(max_connections=concurrency), timeout=60, trust_env=False)


def _parts(rows: list[Row]) -> Iterator[list[Row]]:
    return (rows[start : start + TEXTS_OF_A_REQUEST] for start in range(0, len(rows), TEXTS_OF_A_REQUEST))


def _embed(client: httpx.Client, url: str, rows: Sequence[Row]) -> list[tuple[int, bytes]]:
    payload = {"model": MODEL, "input": [body for _, body in rows], "encoding_format": "base64"}
    answer = client.post(f"{url}/embeddings", content=orjson.dumps(payload)).raise_for_status()
    data = orjson.loads(answer.content)["data"]
    return _packed(rows, b"".join(base64.b64decode(item["embedding"]) for item in data))


def _packed(rows: Sequence[Row], packed: bytes) -> list[tuple[int, bytes]]:
    """Ids and vectors in halfvec's binary form."""
    halves = np.frombuffer(packed, "<f4").reshape(len(rows), -1).astype(">f2")
    header = struct.pack(">HH", halves.shape[1], 0)
    return [(number, header + half.tobytes()) for (number, _), half in zip(rows, halves, strict=True)]


def _store(connection: psycopg.Connection, arrived: Sequence[tuple[int, bytes]]) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY arrived FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "bytea"])
        for row in arrived:
            copy.write_row(row)
    connection.execute("UPDATE bare SET vector = a.vector FROM arrived a WHERE a.id = bare.id")
    connection.execute("TRUNCATE arrived")
    connection.commit()


def new_database(server_url: str, name: str) -> str:
    """The URL of a database with the newest schema."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{server_url.rpartition('/')[0]}/{name}"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION vector")
    ensure_schema(url)
    return url


def main() -> None:
    """Measure both in turn, and print a line a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--per-text-ms", type=float, default=0.2)
    arguments = parser.parse_args()
    sides = {"phase": drained, "drain": engine, "bare": scripted}
    shares: dict[str, list[float]] = {"phase": [], "drain": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_fake_process(
            latency_ms=arguments.latency_ms, per_text_ms=arguments.per_text_ms, dimensions=DIMENSIONS
        ) as fake,
    ):
        server = EmbeddedPostgres(Path(folder))
        try:
            server_url = server.start()
            for number in range(arguments.rounds):
                rates = {
                    name: arguments.texts
                    / measure(
                        new_database(server_url, f"{name}_{number}"), fake, arguments.texts, arguments.concurrency
                    )
                    for name, measure in sides.items()
                }
                for name, values in shares.items():
                    values.append(rates[name] / rates["bare"])
                line = "  ".join(f"{name} {rate:6.0f} texts/s" for name, rate in rates.items())
                print(f"{line}  load {os.getloadavg()[0]:.1f}", flush=True)
        finally:
            server.stop()
    for name, values in shares.items():
        print(f"{name}: {statistics.median(values):.2f} of the bare script (median of {len(values)})")


if __name__ == "__main__":
    main()
