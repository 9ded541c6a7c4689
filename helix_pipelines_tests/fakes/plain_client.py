"""A client that does nothing but HTTP, for tests of the fakes themselves."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService


def ask(fake: FakeEmbeddingService, texts: Any, timeout: float = 10, **fields: Any) -> httpx.Response:
    """One request on a connection of its own."""
    payload = {"model": "m", "input": texts, **fields}
    return httpx.post(f"{fake.url}/embeddings", json=payload, trust_env=False, verify=False, timeout=timeout)


def vectors(answer: httpx.Response) -> list[npt.NDArray[np.float32]]:
    """The vectors of an answer in the order of its rows, whatever their form."""
    rows = [row["embedding"] for row in answer.json()["data"]]
    return [
        np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else np.array(row, np.float32)
        for row in rows
    ]


def side_by_side(call: Callable[[], Any], times: int) -> list[Any]:
    """What so many calls at the same time give; the errors of HTTP are values."""

    def caught(_: int) -> Any:
        try:
            return call()
        except httpx.HTTPError as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(caught, range(times)))
