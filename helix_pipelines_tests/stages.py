"""Runs the stages one after another without Dagster, on a real database and a fake embedding service."""

from __future__ import annotations

import csv
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.filling import EmbeddingReport, embed_batch
from helix_pipelines.embedding.service import EmbeddingService
from helix_pipelines.enrichment.decisions import decide_batch
from helix_pipelines.ingestion.intake import take_in
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.staging import parse_batch
from helix_pipelines.resilience.gate import Gate, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.resilience.gated_calls import GatedCalls
from helix_pipelines.serving.publishing import publish_batch
from helix_pipelines.serving.verify import verify
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.gates import reset_breaker
from helix_pipelines.storage.states import BatchState

MODEL = "fake"
DIMENSIONS = 16
Rows = Sequence[Mapping[str, str]]


@dataclass
class Stages:
    """A deployment in a folder: `url` is its database, `service` the embedding service's URL, the fake's as a rule."""

    url: str
    folder: Path
    service: str
    model: str = MODEL
    dimensions: int = DIMENSIONS
    collection: str = field(default_factory=lambda: f"c-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.database = Database(self.url)
        self.store = ContentStore(f"file://{self.folder / 'store'}")

    def write(self, rows: Rows, name: str = "faq.csv") -> Path:
        """A CSV file of these rows, in a folder of its own."""
        path = self.folder / secrets.token_hex(4) / name
        path.parent.mkdir(parents=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    def begin(self, path: Path, source: str | None = None, **request: Any) -> str:
        """Record a batch of one file; returns its partition key."""
        settings = request.pop("settings", BatchSettings())
        with self.database.transaction() as connection:
            file = FileRequest(str(path), self.collection, source or path.name, **request)
            return create_batch(connection, path.stem, [file], settings, state=BatchState.LAUNCHED)

    def decide(self, key: str, run_id: str | None = None) -> None:
        """Everything before the embedding."""
        run = run_id or f"run-{key}"
        with phase(self.database, key, run, "source_files") as batch:
            take_in(self.database, batch, self.store, ParseLimits())
        with phase(self.database, key, run, "parsed_rows") as batch:
            parse_batch(self.database, batch, self.store, ParseLimits())
        with phase(self.database, key, run, "qa_pairs") as batch:
            decide_batch(self.database, batch)

    def embed(self, key: str, run_id: str | None = None) -> EmbeddingReport:
        """The embedding alone."""
        with (
            embedding_service(
                self.url, self.service, name=self.collection, model=self.model, dimensions=self.dimensions
            ) as service,
            phase(self.database, key, run_id or f"run-{key}", "embeddings") as batch,
        ):
            return embed_batch(self.database, batch, service)

    def open_gate(self) -> None:
        """What an operator does once a key is put right: `helix breaker reset`."""
        with self.database.transaction() as connection:
            reset_breaker(connection, gate_key(self.service, self.collection).hex())

    def publish(self, key: str, run_id: str | None = None) -> None:
        """Close the batch."""
        with phase(self.database, key, run_id or f"run-{key}", "knowledge_base") as batch:
            publish_batch(self.database, batch)

    def finish(self, key: str, run_id: str | None = None) -> dict[str, Any]:
        """All stages, from wherever the batch is; returns the import's record."""
        self.decide(key, run_id)
        self.embed(key, run_id)
        self.publish(key, run_id)
        return self.import_of(key)

    def run(self, rows: Rows, source: str = "faq.csv", **request: Any) -> dict[str, Any]:
        """Import these rows as a new version of a source; returns the import's record."""
        return self.finish(self.begin(self.write(rows, source), source, **request))

    def import_of(self, key: str) -> dict[str, Any]:
        """The record of a batch's one import."""
        return self.query(
            "SELECT j.* FROM helix.import_job j JOIN helix.import_batch b ON b.id = j.batch_id WHERE b.partition_key = %s",
            [key],
        )[0]

    def served(self) -> list[tuple[str, str]]:
        """Question and answer of every searchable pair of the collection, sorted."""
        rows = self.query("SELECT question, answer FROM helix.knowledge_base WHERE collection = %s", [self.collection])
        return sorted((row["question"], row["answer"]) for row in rows)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a statement, as dictionaries."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()

    def violations(self) -> list[str]:
        """The checks of `helix verify` that do not hold."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return [finding.detail for finding in verify(connection) if not finding.ok]


@contextmanager
def embedding_service(
    database_url: str,
    service_url: str,
    limits: GateLimits | None = None,
    *,
    name: str | None = None,
    model: str = MODEL,
    dimensions: int = DIMENSIONS,
    patience: float = 5.0,
    **options: Any,
) -> Iterator[EmbeddingService]:
    """The embedding service at `service_url` behind the gate of a name; `options` are fields of `EmbeddingService`."""
    limits = limits or GateLimits(max_concurrency=3, probe_cap_seconds=1.0)
    with (
        Gate(lambda: gate_connection(database_url), gate_key(service_url, name), SERVICE, limits) as gate,
        EmbeddingClient(service_url, None, model, dimensions, max_connections=limits.max_concurrency) as client,
    ):
        calls = GatedCalls(gate, model, patience=patience)
        yield EmbeddingService(client, calls, limits, model, dimensions, **{"batch_timeout": 20.0, **options})


def counts(record: Mapping[str, Any]) -> dict[str, int]:
    """The outcomes of an import that are not zero."""
    names = (
        "inserted",
        "updated",
        "unchanged",
        "duplicate",
        "quarantined",
        "pending",
        "conflicts",
        "vanished",
        "closed",
    )
    return {name: record[name] for name in names if record[name]}
