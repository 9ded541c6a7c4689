"""What is stored of an answer."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.embedding.texts import Text
from helix_pipelines.embedding.vectors import pack
from helix_pipelines.storage.arrays import binary_array
from helix_pipelines_tests.stages import Stages


def test_an_answer_becomes_keys_and_unit_vectors_in_the_order_of_its_texts(stages: Stages) -> None:
    texts = [Text(uuid.uuid4(), body, import_id=1) for body in ("first", "second")]
    packed = pack(texts, EmbeddingReply(np.array([[3, 4], [0, -2]], "<f4").tobytes(), 2, tokens=7, requests=1))
    with stages.database.transaction() as connection:
        rows = connection.execute(
            "SELECT key, vector::text FROM unnest(%s::uuid[], %s::halfvec[]) AS arrived (key, vector)",
            [
                binary_array(connection, "uuid", packed.texts, [packed.keys]),
                binary_array(connection, "halfvec", packed.texts, [packed.vectors]),
            ],
        ).fetchall()
    assert [key for key, _ in rows] == [text.hash for text in texts]
    assert [[float(number) for number in vector.strip("[]").split(",")] for _, vector in rows] == [
        pytest.approx([0.6, 0.8], abs=1e-3),
        [0.0, -1.0],
    ]
    assert packed.tokens == [4, 4]
