"""What search finds, end to end: files imported by `helix import` with the local embedder, then known questions asked.

    python benchmarks/retrieval.py DATA [--home HOME]

DATA is a folder with `queries.csv` (paraphrased questions and the rows that answer them) and the files that it names.
`exact_terms.csv` beside this script adds 50 codes and names: right is what holds the term. Prints the share of queries with
a right pair first (r@1) and among the first five (r@5), by vectors alone, by text alone and by both, and fails where both
together fall more than .01 below the better one, or below the floors. A kept HOME makes the second run quick.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psycopg

from helix_pipelines.cli.connection import connected
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.generations import active_generation
from helix_pipelines.embedding.passages import query_text
from helix_pipelines.instance.services import embedder
from helix_pipelines.serving.search import Hit, search
from helix_pipelines.settings import Settings, load_settings

HELIX = str(Path(sys.executable).parent / "helix")
EXACT_TERMS = Path(__file__).with_name("exact_terms.csv")
FLOORS = {"banking77": (0.76, 0.92), "covid_de": (0.28, 0.56)}
TOLERANCE = 0.01
REQUEST_TEXTS = 50
REQUEST_SECONDS = 60.0
NO_TERMS = "?"
"""A text without terms: what is found is found by its vector alone."""


@dataclass(frozen=True)
class Query:
    """A question to one of the collections, and what makes a hit right."""

    dataset: str
    file: str
    text: str
    is_right: Callable[[Hit], bool]

    @property
    def collection(self) -> str:
        """Every file is a collection of its own."""
        return Path(self.file).stem


Shares = dict[str, tuple[float, float]]


def main() -> None:
    """Import what is not imported yet, ask everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    queries = [*paraphrases(arguments.data / "queries.csv"), *exact_terms(EXACT_TERMS)]
    with home(arguments.home) as folder:
        os.environ["HELIX_HOME"] = str(folder)
        for file in dict.fromkeys(query.file for query in queries):
            import_file(arguments.data.parent / file)
        settings = load_settings()
        with connected(settings) as connection:
            vectors = embed(settings, connection, [query.text for query in queries])
            print(f"{'set':12} {'queries':>7}   {'vector':13} {'text':13} {'hybrid':13}  (r@1 r@5)")
            for dataset in dict.fromkeys(query.dataset for query in queries):
                chosen = [number for number, query in enumerate(queries) if query.dataset == dataset]
                check(dataset, ask(connection, [queries[number] for number in chosen], [vectors[it] for it in chosen]))
            compare_command(connection, queries[0], vectors[0])


def paraphrases(path: Path) -> Iterator[Query]:
    """The queries of `queries.csv`; a row is right by its number, or by the beginning of its answer."""
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            rows = {int(row) for row in line["relevant_rows"].split("|")}
            prefix = line["relevant_answer_prefix"] if line["match"] == "answer" else None
            yield Query(line["dataset"], line["kb_file"], line["query"], answered_by(rows, prefix))


def answered_by(rows: set[int], prefix: str | None) -> Callable[[Hit], bool]:
    """Whether a hit comes from one of the rows or has the answer."""

    def is_right(hit: Hit) -> bool:
        return any(source.row in rows for source in hit.sources) or (
            prefix is not None and hit.answer.startswith(prefix)
        )

    return is_right


def exact_terms(path: Path) -> Iterator[Query]:
    """The queries of `exact_terms.csv`."""
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            whole = re.compile(rf"(?<!\w){re.escape(line['exact'])}(?!\w)", re.IGNORECASE)
            yield Query("exact terms", line["kb_file"], line["query"], holds(whole))


def holds(whole: re.Pattern[str]) -> Callable[[Hit], bool]:
    """Whether a hit has the term as a word of its own."""

    def is_right(hit: Hit) -> bool:
        return whole.search(f"{hit.question}\n{hit.answer}") is not None

    return is_right


@contextmanager
def home(given: Path | None) -> Iterator[Path]:
    """The given folder, or one that goes again."""
    if given is not None:
        yield given
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def import_file(path: Path) -> None:
    """One file into the collection of its name."""
    started = monotonic()
    subprocess.run([HELIX, "import", str(path), "--collection", path.stem], check=True, stdout=subprocess.DEVNULL)
    print(f"{path.name}: imported in {monotonic() - started:.0f} s")


def embed(settings: Settings, connection: psycopg.Connection, texts: list[str]) -> list[list[float]]:
    """The queries' vectors from the embedder that filled the knowledge base."""
    generation = active_generation(connection)
    assert generation is not None
    print(f"model {generation.model}, recipe {generation.recipe}")
    asked = [query_text(text, generation.recipe) for text in texts]
    vectors: list[list[float]] = []
    with embedder(settings) as endpoint:
        client = EmbeddingClient(
            endpoint.url, endpoint.api_key, endpoint.model, generation.dimensions,
            timeout=REQUEST_SECONDS, max_connections=1,
        )  # fmt: skip
        with closing(client):
            for start in range(0, len(asked), REQUEST_TEXTS):
                reply = client.embed(asked[start : start + REQUEST_TEXTS], deadline=monotonic() + REQUEST_SECONDS)
                vectors += [list(map(float, vector)) for vector in reply.vectors]
    return vectors


def ask(connection: psycopg.Connection, queries: list[Query], vectors: list[list[float]]) -> tuple[int, Shares]:
    """Number of queries, and per mode the shares answered first and among five."""
    right: dict[str, list[int]] = {"vector": [], "text": [], "hybrid": []}
    for query, vector in zip(queries, vectors, strict=True):
        modes = {"vector": (NO_TERMS, vector), "text": (query.text, None), "hybrid": (query.text, vector)}
        for mode, (text, given) in modes.items():
            hits = search(connection, text, given, k=5, collection=query.collection).hits
            right[mode].append(next((rank for rank, hit in enumerate(hits, 1) if query.is_right(hit)), 6))
    return len(queries), {
        mode: (sum(rank == 1 for rank in ranks) / len(ranks), sum(rank <= 5 for rank in ranks) / len(ranks))
        for mode, ranks in right.items()
    }


def check(dataset: str, asked: tuple[int, Shares]) -> None:
    """Print one line of the table and hold it to what is promised."""
    count, shares = asked
    cells = " ".join(f"{first:.3f} {five:.3f}  " for first, five in shares.values())
    print(f"{dataset:12} {count:7}   {cells}")
    for at, name in enumerate(("r@1", "r@5")):
        hybrid = shares["hybrid"][at]
        better = max(shares["vector"][at], shares["text"][at])
        assert hybrid >= better - TOLERANCE, f"{dataset}: {name} of hybrid falls below the better half"
        if dataset in FLOORS:
            assert round(hybrid, 2) >= FLOORS[dataset][at], f"{dataset}: {name} is below its floor"


def compare_command(connection: psycopg.Connection, query: Query, vector: list[float]) -> None:
    """The command finds what the function finds."""
    command = [HELIX, "search", query.text, "--collection", query.collection, "-k", "5", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    printed = json.loads(done.stdout)
    hits = search(connection, query.text, vector, k=5, collection=query.collection).hits
    assert printed["mode"] == "hybrid", printed["mode"]
    assert [hit["pair"] for hit in printed["hits"]] == [hit.pair for hit in hits]
    print("`helix search` finds the same")


if __name__ == "__main__":
    main()
