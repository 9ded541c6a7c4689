"""An embedding service as the pipeline uses it: every request through the gate, at the prices and limits of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helix_pipelines.embedding.api import PROBE, EmbeddingApi
from helix_pipelines.embedding.batching import BatchSizer, estimate_tokens
from helix_pipelines.embedding.generations import Generation, ensure_generation
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.resilience.errors import TransientError, UnavailableError
from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines.resilience.gated_calls import GatedCalls
from helix_pipelines.storage.engine import Database

PER_MILLION = 1_000_000
ASK_AGAIN_SECONDS = 30.0
"""Until a first import looks again for a service that failed all tries of one request."""


@dataclass(frozen=True, slots=True)
class EmbeddingService:
    """A service, the gate's way to it, and what its use may take and cost.

    `dimensions` is None where the service decides. `batch_timeout` is seconds for a request with its retries, `max_texts` the
    most texts of one request, `price` that of a million tokens, `batch_tokens` the most tokens of one batch; None means no limit.
    """

    api: EmbeddingApi
    calls: GatedCalls
    limits: GateLimits
    model: str
    dimensions: int | None
    batch_timeout: float
    max_texts: int | None = None
    price: float = 0.0
    batch_tokens: int | None = None

    def embed(self, texts: Sequence[str]) -> EmbeddingReply:
        """The vectors of `texts` by one request, as soon as the gate lets it through.

        Raises what `EmbeddingApi.embed` and `GatedCalls.call` name.
        """
        tokens = sum(map(estimate_tokens, texts))
        return self.calls.call(lambda deadline: self.api.embed(texts, deadline), tokens, self.batch_timeout)

    def generation(self, database: Database) -> Generation:
        """The active generation, made if this is the first import; a service that decides on the dimensions is asked for them.

        Raises SetupError (EMBEDDING_GENERATION_MISMATCH) where the settings name another model than the knowledge base has,
        UnavailableError where the service that has to be asked does not answer.
        """
        dimensions = self.dimensions
        while True:
            with database.transaction() as connection:
                generation = ensure_generation(connection, self.model, dimensions)
            if generation is not None:
                return generation
            try:
                dimensions = self.embed(PROBE).dimensions
            except TransientError as error:
                raise UnavailableError(error.code, error.message, ASK_AGAIN_SECONDS) from error

    def sizer(self, max_texts: int) -> BatchSizer:
        """Decides on the texts of a request, of which a batch wants at most `max_texts`."""
        return BatchSizer(
            deadline=self.batch_timeout,
            cap=min(max_texts, self.max_texts) if self.max_texts else max_texts,
            requests_per_minute=self.limits.requests_per_minute,
            tokens_per_minute=self.limits.tokens_per_minute,
        )

    def cost(self, tokens: int) -> float:
        """What so many tokens cost, in the currency of the price."""
        return tokens * self.price / PER_MILLION
