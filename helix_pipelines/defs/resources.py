"""What assets, sensors and checks are given to reach the outside; each is opened where it is used and closed after it.

The settings come from the environment when something is opened. With the embedded database or embedder the process that opens
it joins the server that `helix up` or `helix import` runs, or starts it where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import dagster as dg

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.service import EmbeddingService
from helix_pipelines.ingestion.batching import BatchLimits
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.instance import services
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.gate import Gate, gate_connection
from helix_pipelines.resilience.gated_calls import GatedCalls
from helix_pipelines.settings import load_settings
from helix_pipelines.storage.batch_runs import BatchRun
from helix_pipelines.storage.engine import Database


class DatabaseResource:
    """PostgreSQL with schema `helix`, at `HELIX_DATABASE_URL` or embedded."""

    @contextmanager
    def pool(self) -> Iterator[Database]:
        """A small pool of connections for the length of the block."""
        settings = load_settings()
        with services.database(settings) as url, closing(Database.from_settings(url, settings)) as database:
            yield database


class StoreResource:
    """The content-addressed store of original files at `HELIX_STORE_URL`, and what may be read from it."""

    def store(self) -> ContentStore:
        """The store."""
        return ContentStore(load_settings().store)

    def limits(self) -> ParseLimits:
        """Caps on the size and shape of a file (`HELIX_MAX_*`)."""
        return ParseLimits.from_settings(load_settings())


class EmbeddingResource:
    """The embedding service at `HELIX_EMBEDDING_URL`, or the local embedder, behind the gate of its key."""

    @contextmanager
    def service(self, database: Database) -> Iterator[EmbeddingService]:
        """The service for the length of the block; the local embedder is started if need be. The gate is in `database`."""
        settings = load_settings()
        with ExitStack() as opened:
            endpoint = opened.enter_context(services.embedder(settings))
            limits = endpoint.limits(settings)
            gate = opened.enter_context(
                Gate(partial(gate_connection, database.url), endpoint.gate_key, SERVICE, limits)
            )
            client = EmbeddingClient(
                endpoint.url,
                endpoint.api_key,
                endpoint.model,
                endpoint.dimensions,
                timeout=settings.batch_timeout,
                max_connections=endpoint.max_concurrency,
            )
            yield EmbeddingService(
                opened.enter_context(closing(client)),
                GatedCalls(gate, endpoint.model, patience=settings.outage_patience),
                limits,
                endpoint.model,
                endpoint.dimensions,
                settings.batch_timeout,
                endpoint.max_texts,
                settings.price(endpoint.model),
                endpoint.tokens_for(settings, settings.budget_per_batch),
            )


def hold_batch(context: dg.InitResourceContext) -> Iterator[BatchRun]:
    """The run's hold on its batch, for as long as the run lives: Dagster opens a resource once for all steps of a process."""
    run = context.run
    assert run is not None, "a batch is held by a run"
    settings = load_settings()
    with (
        services.database(settings) as url,
        closing(Database(url, pool_size=1, max_overflow=0)) as database,
        closing(
            BatchRun(database, run.run_id, phase_timeout=settings.phase_timeout, run_timeout=settings.run_timeout)
        ) as batch_run,
    ):
        yield batch_run


class InboxResource:
    """The folder at `HELIX_INBOX`, and how its files are sealed into batches."""

    def folder(self) -> Path:
        """The folder that people drop files into."""
        return load_settings().inbox_dir.absolute()

    def stable_seconds(self) -> float:
        """For how long a file has to keep its size and time."""
        return load_settings().inbox_stable_seconds

    def limits(self) -> BatchLimits:
        """How large a batch may become."""
        settings = load_settings()
        return BatchLimits(settings.inbox_batch_files, settings.inbox_batch_bytes, settings.inbox_batch_age)


def resources() -> dict[str, dg.ResourceDefinition]:
    """Every resource by the name under which definitions ask for it; the UI shows its docstring."""
    values = {
        "database": DatabaseResource(),
        "store": StoreResource(),
        "embedding": EmbeddingResource(),
        "inbox": InboxResource(),
    }
    return {
        **{name: dg.ResourceDefinition.hardcoded_resource(value, value.__doc__) for name, value in values.items()},
        "batch_run": dg.ResourceDefinition(hold_batch, description=hold_batch.__doc__),
    }
