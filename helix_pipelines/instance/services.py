"""The two services that every command needs, database and embedder: an operator's, or our own for as long as somebody uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from helix_pipelines.instance.shared_service import SharedService
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.settings import LOCAL_HOSTS, Secret, Settings


@dataclass(frozen=True)
class EmbeddingEndpoint:
    """Where texts are embedded. `url` is the base of an OpenAI-compatible API, ending in `/v1` as a rule.

    `dimensions` is None where the service decides; `max_concurrency` is requests in flight; `max_texts` is the most texts of one
    request that it answers in good time, None where only its own refusal tells.
    """

    url: str
    api_key: Secret | None
    model: str
    dimensions: int | None
    max_concurrency: int
    max_texts: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether the service is on this machine: nobody bills for it, and its limits are its own affair."""
        return urlsplit(self.url).hostname in LOCAL_HOSTS

    @property
    def is_own(self) -> bool:
        """Whether it is the embedder that Helix starts itself; only its limit of texts is known before it refuses."""
        return self.max_texts == LOCAL_MAX_TEXTS

    @property
    def gate_key(self) -> bytes:
        """The gate that all processes and hosts share for this service; our own embedder has one, whatever its port."""
        if self.is_own:
            return gate_key(LOCAL_ADDRESS, None)
        return gate_key(self.url, self.api_key.reveal() if self.api_key else None)

    def limits(self, settings: Settings) -> GateLimits:
        """What the settings allow; a service outside has 60 requests a minute unless they say otherwise.

        Raises SetupError (BUDGET_WITHOUT_PRICE) where a budget is set and the model has no price.
        """
        default_rpm, default_probe_cap = (None, 5.0) if self.is_local else (OUTSIDE_RPM, 60.0)
        return GateLimits(
            requests_per_minute=default_rpm if settings.embedding_rpm is None else settings.embedding_rpm or None,
            tokens_per_minute=settings.embedding_tpm or None,
            max_concurrency=self.max_concurrency,
            period_seconds=settings.embedding_limit_period,
            tokens_per_day=self.tokens_for(settings, settings.budget_per_day),
            failure_threshold=settings.embedding_breaker_threshold,
            probe_cap_seconds=settings.embedding_breaker_timeout or default_probe_cap,
        )

    def tokens_for(self, settings: Settings, budget: float | None) -> int | None:
        """How many tokens a budget pays for, None for no budget. Raises SetupError (BUDGET_WITHOUT_PRICE)."""
        if budget is None:
            return None
        price = settings.price(self.model)
        if not price:
            raise SetupError(
                "BUDGET_WITHOUT_PRICE",
                f"A budget needs the price of {self.model}: set HELIX_EMBEDDING_PRICES={self.model}=<price of a million tokens>.",
            )
        return int(budget / price * 1_000_000)


OUTSIDE_RPM = 60.0
"""Requests a minute to a service outside: what the smallest plans of the known ones allow."""
LOCAL_ADDRESS = "local embedder"
LOCAL_URL = "http://127.0.0.1/v1"
LOCAL_TEXT_SECONDS = 0.08
"""What a text takes on one core while the other ones are busy too: two cores embed 23 to 26 texts of forty words a second."""
LOCAL_MAX_TEXTS = 32
"""Of a request to the local embedder: at 20 to 40 ms a text, more would come near the deadline on a busy machine."""


@contextmanager
def database(settings: Settings, *, may_change: bool = True) -> Iterator[str]:
    """The URL (`postgresql://...`) of a usable database for a block. The schema is not looked at.

    `HELIX_DATABASE_URL` is checked, and gets the extension `vector` if we `may_change` it. Otherwise the home's own server is
    started or joined, and stopped by its last user.
    Raises SetupError: what `external_database.check_database` or `EmbeddedPostgres.start` name.
    """
    if settings.database_url is not None:
        from helix_pipelines.instance.external_database import check_database, neutral_url

        url = neutral_url(settings.database_url.reveal())
        check_database(url, may_change=may_change)
        yield url
    else:
        with shared_database(settings.home).joined() as url:
            yield url


@contextmanager
def embedder(settings: Settings) -> Iterator[EmbeddingEndpoint]:
    """Where texts are embedded, for a block: the service of `HELIX_EMBEDDING_URL`, or the local one, started or joined.

    A service outside is not called here. Raises SetupError: EMBEDDING_URL_MISSING where the settings ask for a model that
    the local embedder does not have, and what `LocalEmbedder.start` names.
    """
    endpoint = planned_endpoint(settings)
    if not endpoint.is_own:
        yield endpoint
        return
    with shared_embedder(settings.home).joined() as url:
        yield replace(endpoint, url=url)


def planned_endpoint(settings: Settings) -> EmbeddingEndpoint:
    """Where texts would be embedded: nothing is started, so the local embedder's URL has no port yet.

    Raises SetupError (EMBEDDING_URL_MISSING) as `embedder` does.
    """
    if settings.embedding_url is not None:
        return EmbeddingEndpoint(
            settings.embedding_url,
            settings.embedding_api_key,
            settings.embedding_model,
            settings.embedding_dimensions,
            settings.embedding_concurrency,
        )
    from helix_pipelines.instance.local_embedder import DIMENSIONS, MODEL

    if settings.embedding_model != MODEL or settings.embedding_dimensions not in {None, DIMENSIONS}:
        raise SetupError(
            "EMBEDDING_URL_MISSING",
            f"The local embedder has the model {MODEL} with {DIMENSIONS} dimensions only. Set HELIX_EMBEDDING_URL to the "
            "service that has another, or unset HELIX_EMBEDDING_MODEL and HELIX_EMBEDDING_DIMENSIONS.",
        )
    return EmbeddingEndpoint(LOCAL_URL, None, MODEL, DIMENSIONS, settings.embedding_concurrency, LOCAL_MAX_TEXTS)


def shared_database(home: Path) -> SharedService[str]:
    """One process's part in the embedded PostgreSQL of `home`."""
    from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres

    return SharedService(EmbeddedPostgres(home), home.expanduser().resolve() / "postgres" / "users.lock")


def shared_embedder(home: Path) -> SharedService[str]:
    """One process's part in the local embedder of `home`."""
    from helix_pipelines.instance.local_embedder import LocalEmbedder

    return SharedService(LocalEmbedder(home), home.expanduser().resolve() / "embedder" / "users.lock")
