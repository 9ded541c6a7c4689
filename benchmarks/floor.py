"""The database's share of an import: the statements of one file, without reading, HTTP or Dagster.

    python benchmarks/floor.py FILE [--rows N]

Rows are parsed and vectors made beforehand; what is timed is COPY and the named statements, ledger, checkpoints and fences
included, in the same chunks as the stages use. What an import takes above this is what Helix adds.
"""

from __future__ import annotations

import argparse
import itertools
import struct
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from helix_pipelines.embedding import vectors
from helix_pipelines.embedding.generations import Generation, ensure_generation
from helix_pipelines.embedding.passages import passages, text_hash
from helix_pipelines.embedding.readiness import serve_ready
from helix_pipelines.embedding.texts import WINDOW_ROWS
from helix_pipelines.enrichment.categorize import categorizer
from helix_pipelines.enrichment.ranges import key_ranges
from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import make_reader
from helix_pipelines.parsing.request import ReadRequest
from helix_pipelines.parsing.staging import CONTENT_COLUMNS, LEDGER_COLUMNS, staged_rows
from helix_pipelines.serving.terms import TERMS_VERSION
from helix_pipelines.storage.arrays import binary_array
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.checkpoints import Checkpoint, write_checkpoint
from helix_pipelines.storage.copying import copy_rows
from helix_pipelines.storage.engine import Database
from helix_pipelines.storage.leases import BatchWork
from helix_pipelines.storage.queries import load
from helix_pipelines.storage.schema import ensure_schema

DIMENSIONS = 384
UUID_BEFORE = b"\x00\x00\x00\x10"
HALFVEC_BEFORE = struct.pack(">ihh", vectors.HALFVEC_HEADER + vectors.HALF_BYTES * DIMENSIONS, DIMENSIONS, 0)
"""What stands before a uuid and before a vector in an array: their length in bytes, and a vector's own header."""
Prepared = list[tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]]


def prepare(path: Path, rows: int | None) -> Prepared:
    """Ledger lines and texts of the file in the stages' chunks, as import 1 of an empty database."""
    limits = ParseLimits()
    reader = make_reader(
        ReadRequest(lambda: path.open("rb"), sniff(lambda: path.open("rb"), path.name, limits), limits)
    )
    categorize = categorizer({}, None)
    chunks: Prepared = []
    done = 0
    for records in reader.chunks():
        kept = records[: rows - done] if rows else records
        if not kept:
            break
        ledger, content, _ = staged_rows(1, done, kept, categorize)
        chunks.append((ledger, content))
        done += len(kept)
    return chunks


class Floor:
    """Runs the statements, one method a stage, and times each."""

    def __init__(self, database: Database, batch: BatchWork, chunks: Prepared) -> None:
        self.database = database
        self.batch = batch
        self.chunks = chunks
        self.rows = sum(len(ledger) for ledger, _ in chunks)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's seconds to the stage's."""
        started = monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + monotonic() - started

    def stage(self) -> None:
        """COPY of ledger lines and texts, a checkpoint a chunk."""
        for index, (ledger, content) in enumerate(self.chunks):
            with self.timed("staging"), self.database.transaction() as connection:
                copy_rows(connection, "helix.import_row", LEDGER_COLUMNS, ledger)
                copy_rows(connection, "helix.row_content", CONTENT_COLUMNS, content)
                connection.execute(
                    "UPDATE helix.import_job SET rows_read = rows_read + %s WHERE id = 1",
                    [len(ledger)],
                )
                write_checkpoint(connection, 1, "parsing", Checkpoint(len(ledger), index, "1"))
                self.batch.lease.fence(connection)

    def decide(self) -> None:
        """Pairs, decisions and occurrences, range by range."""
        for index, keys in enumerate(key_ranges(self.rows)):
            parameters = {
                "job": 1,
                "source": 1,
                "collection": 1,
                "low": keys.low,
                "high": keys.high,
                "derived_version": TERMS_VERSION,
            }
            with self.timed("decisions"), self.database.transaction() as connection:
                for statement in ("insert_pairs", "decide_rows", "open_occurrences"):
                    connection.execute(load(statement), parameters)
                counts = connection.execute(load("count_range"), parameters).fetchone()
                assert counts is not None
                connection.execute(
                    "UPDATE helix.import_job SET inserted = inserted + %s, updated = updated + %s,"
                    " duplicate = duplicate + %s, conflicts = conflicts + %s WHERE id = 1",
                    [*counts],
                )
                write_checkpoint(connection, 1, "decide", Checkpoint(self.rows, index, "1"))
                self.batch.lease.fence(connection)

    def embed(self, generation: Generation) -> None:
        """Passages, pending texts, vectors and what they make searchable, window by window."""
        with self.database.transaction() as connection:
            pairs = connection.execute("SELECT id, question, answer FROM helix.qa_pair ORDER BY id").fetchall()
        random = np.random.default_rng(7).standard_normal((WINDOW_ROWS, DIMENSIONS)).astype(">f2")
        payloads = [HALFVEC_BEFORE + vector.tobytes() for vector in random]
        for window in _windows(pairs):
            units = [
                (pair, ordinal, text_hash(body), body)
                for pair, question, answer in window
                for ordinal, body in enumerate(passages(question, answer, generation.recipe))
            ]
            columns = [list(column) for column in zip(*units, strict=True)]
            with self.timed("embeddings"):
                self._open(generation, columns)
                self._store(generation, columns, payloads)

    def _open(self, generation: Generation, columns: list[list[Any]]) -> None:
        pairs, ordinals, keys, bodies = columns
        with self.database.transaction() as connection:
            connection.execute(
                load("claim_new_texts"),
                {
                    "generation": generation.id,
                    "recipe": generation.recipe,
                    "token": self.batch.lease.token,
                    "seconds": 900,
                    "job": 1,
                    "run_id": self.batch.run_id,
                    "pairs": pairs,
                    "ordinals": ordinals,
                    "hashes": keys,
                    "bodies": bodies,
                },
            )
            self.batch.lease.fence(connection)

    def _store(self, generation: Generation, columns: list[list[Any]], payloads: list[bytes]) -> None:
        keys: list[uuid.UUID] = list(dict.fromkeys(columns[2]))
        with self.database.transaction() as connection:
            connection.execute(vectors.BY_LOOKUP)
            arrived = {
                "hashes": binary_array(connection, "uuid", len(keys), (UUID_BEFORE + key.bytes for key in keys)),
                "vectors": binary_array(
                    connection, "halfvec", len(keys), itertools.islice(itertools.cycle(payloads), len(keys))
                ),
                "tokens": [18] * len(keys),
            }
            connection.execute(
                load("store_vectors"), {**arrived, "generation": generation.id, "run_id": self.batch.run_id}
            )
            serve_ready(connection, generation, pairs=columns[0])
            self.batch.lease.fence(connection)


def _windows(rows: list[Any]) -> Iterator[list[Any]]:
    return (rows[start : start + WINDOW_ROWS] for start in range(0, len(rows), WINDOW_ROWS))


def measure(path: Path, rows: int | None = None) -> dict[str, float]:
    """Seconds of each stage's statements on an embedded PostgreSQL of its own, and their total."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as url:
        ensure_schema(url)
        database = Database(url)
        chunks = prepare(path, rows)
        with database.transaction() as connection:
            key = create_batch(connection, "floor", [FileRequest(str(path), "c", "s")], BatchSettings())
            generation = ensure_generation(connection, "floor", DIMENSIONS)
        assert generation is not None
        with phase(database, key, "floor", "floor") as batch:
            floor = Floor(database, batch, chunks)
            steps: list[Callable[[], None]] = [floor.stage, floor.decide, lambda: floor.embed(generation)]
            for step in steps:
                step()
        database.close()
        return {**floor.seconds, "total": sum(floor.seconds.values())}


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    server = EmbeddedPostgres(folder)
    try:
        yield server.start()
    finally:
        server.stop()


def main() -> None:
    """Print a line a stage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int)
    arguments = parser.parse_args()
    for stage, seconds in measure(arguments.file, arguments.rows).items():
        print(f"{stage:<12} {seconds:8.2f} s")


if __name__ == "__main__":
    main()
