"""Recall of filtered vector search over 100,000 pairs against an exact comparison in numpy.

    python benchmarks/filtered_recall.py [--pairs 100000] [--queries 50]

Three fifths of the vectors lie in a sealed, indexed segment, the rest in the open one. Collection `small` holds 1 % of the
pairs, category `tenth` 10 %. Vectors are synthetic: 1,000 clusters, so that neighbours are neither trivial nor random.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from helix_pipelines.embedding.passages import PLAIN_RECIPE
from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.serving.indexes import index_segments
from helix_pipelines.serving.search import search
from helix_pipelines.storage.schema import ensure_schema

DIMENSIONS = 384
K = 10
SHARE_SMALL = 100
SHARE_TENTH = 10
FLOOR = 0.95

SETUP = """
INSERT INTO helix.collection (name) VALUES ('large'), ('small');
INSERT INTO helix.source (collection_id, name) VALUES (1, 'large.csv'), (2, 'small.csv');
INSERT INTO helix.import_batch (partition_key, name, state, position) VALUES ('bench', 'bench', 'queued', 1);
INSERT INTO helix.import_job (batch_id, source_id, path, mode, pipeline_version)
VALUES (1, 1, 'large.csv', 'append', 'bench'), (1, 2, 'small.csv', 'append', 'bench');
CREATE TABLE helix.embedding_g1 PARTITION OF helix.embedding FOR VALUES IN (1);
"""
PAIRS = """
INSERT INTO helix.qa_pair (collection_id, content_hash, question_key, question, answer, search, derived_version,
                           first_import_id)
SELECT 1 + (mod(n, %(small)s) = 0)::int, lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid,
       'Question ' || n, 'Answer', '', 1, 1
FROM generate_series(0, %(pairs)s - 1) n ORDER BY n
"""
ROWS = """
INSERT INTO helix.occurrence (source_id, row_key, collection_id, pair_id, served_pair_id, import_job_id, ordinal, row_number,
                              content_hash, question_key, category)
SELECT collection_id, id, collection_id, id, id, collection_id, id, id, content_hash, question_key,
       CASE WHEN mod(id - 1, %(tenth)s) = 0 THEN 'tenth' END
FROM helix.qa_pair
"""


def main() -> None:
    """Fill a scratch database, search it, print recall and time for each kind of filter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    arguments = parser.parse_args()
    random = np.random.default_rng(20260101)
    vectors = clustered(random, arguments.pairs)
    queries = vectors[random.integers(0, arguments.pairs, arguments.queries)]
    queries = normalised(queries + random.normal(scale=0.03, size=queries.shape))
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        try:
            measure(server.start(), vectors, queries)
        finally:
            server.stop()


def measure(url: str, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    """Fill the database at `url` and print the table."""
    ensure_schema(url)
    sealed = len(vectors) * 3 // 5
    fill(url, vectors, sealed)
    report = index_segments(url, segment_vectors=sealed - 1)
    assert report.indexed == [0]
    open_rest(url, vectors, sealed)
    print(f"{len(vectors):,} pairs, {sealed:,} in the indexed segment (built in {report.seconds:.0f} s)")
    numbers = np.arange(len(vectors))
    filters: list[tuple[str, dict[str, Any], NDArray[np.bool_]]] = [
        ("collection of 1 %", {"collection": "small"}, numbers % SHARE_SMALL == 0),
        ("category of 10 %", {"category": "tenth"}, numbers % SHARE_TENTH == 0),
        ("no filter", {}, numbers >= 0),
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        for name, wanted, holds in filters:
            recall, milliseconds = recall_of(connection, vectors, queries, wanted, numbers[holds])
            print(f"{name:20} recall@{K} {recall:.3f}   {milliseconds:6.1f} ms (median)")
            assert recall >= FLOOR, f"{name}: below {FLOOR}"


def recall_of(
    connection: psycopg.Connection,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    wanted: dict[str, Any],
    numbers: NDArray[np.int64],
) -> tuple[float, float]:
    """Mean share of the exact K nearest that a search finds, and its median milliseconds."""
    stored = vectors[numbers].astype(np.float16).astype(np.float32)
    found, times = 0, []
    for query in queries:
        exact = set(numbers[np.argsort(-(stored @ query))[:K]] + 1)
        started = perf_counter()
        hits = search(connection, "?", query, k=K, **wanted).hits
        times.append((perf_counter() - started) * 1000)
        found += len(exact & {hit.pair for hit in hits})
    return found / (K * len(queries)), median(times)


def fill(url: str, vectors: NDArray[np.float32], sealed: int) -> None:
    """All pairs with their rows and passages, and the vectors of the segment that will be sealed."""
    with psycopg.connect(url) as connection:
        connection.execute(SETUP)
        connection.execute(
            "INSERT INTO helix.embedding_generation (model, dimensions, recipe, status) VALUES ('synthetic', %s, %s, 'active')",
            [DIMENSIONS, PLAIN_RECIPE],
        )
        connection.execute(PAIRS, {"pairs": len(vectors), "small": SHARE_SMALL})
        connection.execute(ROWS, {"tenth": SHARE_TENTH})
        connection.execute(
            "INSERT INTO helix.passage SELECT id, %s, 0, content_hash, question FROM helix.qa_pair", [PLAIN_RECIPE]
        )
        copy_vectors(connection, vectors[:sealed], first=0, segment=0)


def open_rest(url: str, vectors: NDArray[np.float32], sealed: int) -> None:
    """The other vectors go to the open segment."""
    with psycopg.connect(url) as connection:
        copy_vectors(connection, vectors[sealed:], first=sealed, segment=1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def copy_vectors(connection: psycopg.Connection, vectors: NDArray[np.float32], *, first: int, segment: int) -> None:
    """Completed vectors of the pairs from number `first` on."""
    register_vector(connection)
    statement = (
        "COPY helix.embedding_g1 (generation_id, text_hash, state, vector, segment) FROM STDIN WITH (FORMAT BINARY)"
    )
    with connection.cursor().copy(statement) as copy:
        copy.set_types(["int4", "uuid", "text", "halfvec", "int2"])
        for number, vector in enumerate(vectors, first):
            copy.write_row((1, UUID(int=number), "completed", HalfVector(vector), segment))


def clustered(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Unit vectors around 1,000 centres."""
    centres = random.normal(size=(1000, DIMENSIONS)).astype(np.float32)
    vectors = centres[random.integers(0, len(centres), count)]
    return normalised(vectors + random.normal(scale=0.8, size=vectors.shape))


def normalised(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """The vectors at length 1."""
    scaled: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


if __name__ == "__main__":
    main()
