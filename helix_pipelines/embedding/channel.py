"""What an embeddings API needs of HTTP: one POST that ends by a deadline, and errors that mean the same over every library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from helix_pipelines.resilience.errors import SetupError, TimedOutError, TransientError
from helix_pipelines.settings import Secret

HEADERS = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
"""Of every request; a compressed answer could grow beyond all bounds when it is expanded."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose body is still to be read. `headers` are found by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterable[bytes]


class Channel(Protocol):
    """Carries requests to one address, `where`, which is named in messages and has no credentials in it."""

    where: str

    def post(self, body: bytes, deadline: float) -> AbstractContextManager[Response]:
        """Send a request; its answer is read inside the block, and all of it ends by `deadline` (`time.monotonic()`).

        Raises the errors below, inside the block too, and GlobalError (EMBEDDING_CERTIFICATE_INVALID).
        """

    def close(self) -> None:
        """Close all connections."""


def authorization(api_key: Secret) -> str:
    """The header that carries a key. Raises SetupError (SETTING_INVALID) for one that no header can carry."""
    text = api_key.reveal().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise SetupError("SETTING_INVALID", "HELIX_EMBEDDING_API_KEY is empty or holds characters that no key has.")
    return f"Bearer {text}"


def timed_out(where: str) -> TimedOutError:
    """The deadline came before the whole answer."""
    return TimedOutError("EMBEDDING_TIMEOUT", f"{where} did not answer in full by the deadline.")


def unreachable(where: str) -> TransientError:
    """No connection came about."""
    return TransientError(
        "EMBEDDING_UNREACHABLE",
        f"Nothing accepts connections at {where}. Is the service running, and HELIX_EMBEDDING_URL right?",
    )


def connection_lost(where: str, error: Exception) -> TransientError:
    """The connection ended early, or what came over it is not HTTP."""
    return TransientError("EMBEDDING_CONNECTION_LOST", f"The connection to {where} broke ({type(error).__name__}).")
