"""The embedding phase on a real database, against a service that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

from helix_pipelines.embedding import filling, texts, vectors
from helix_pipelines.embedding.generations import active_generation, ensure_generation
from helix_pipelines.embedding.readiness import serve_ready
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.resilience.errors import PhaseError, SetupError
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines.storage.imports import list_imports
from helix_pipelines.storage.states import BatchState, ImportState
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import DIMENSIONS, MODEL, Stages


def questions(count: int, answer: str = "An answer.") -> list[dict[str, str]]:
    return [{"question": f"Question {number}?", "answer": answer} for number in range(count)]


def test_each_text_is_sent_once_and_every_pair_is_served(stages: Stages, service: FakeEmbeddingService) -> None:
    stages.run(questions(700))
    counters = service.counters()
    assert (counters.texts, counters.texts_seen_twice) == (700, 0)
    assert len(stages.served()) == 700
    assert stages.violations() == []


def test_usage_is_booked_to_the_import_that_paid(stages: Stages, service: FakeEmbeddingService) -> None:
    record = stages.run(questions(450, "Booked."))
    counters = service.counters()
    booked = stages.query(
        "SELECT requests, texts, tokens FROM helix.api_usage WHERE import_job_id = %s", [record["id"]]
    )
    assert booked == [{"requests": counters.requests, "texts": 450, "tokens": counters.tokens}]


def test_texts_of_small_files_share_a_request(stages: Stages, service: FakeEmbeddingService) -> None:
    paths = [
        stages.write([{"question": f"Small {number}?", "answer": "Yes."}], f"{number}.csv") for number in range(30)
    ]
    files = [FileRequest(str(path), stages.collection, path.name) for path in paths]
    with stages.database.transaction() as connection:
        key = create_batch(connection, "small", files, BatchSettings(), state=BatchState.LAUNCHED)
    stages.decide(key)
    stages.embed(key)
    stages.publish(key)
    counters = service.counters()
    assert (counters.requests, counters.texts) == (1, 30)
    [booked] = stages.query(
        "SELECT sum(requests) AS requests, sum(texts) AS texts, sum(tokens) AS tokens, min(tokens) > 0 AS shared"
        " FROM helix.api_usage JOIN helix.import_job j ON j.id = import_job_id"
        " JOIN helix.import_batch b ON b.id = j.batch_id WHERE b.partition_key = %s",
        [key],
    )
    assert booked == {"requests": 1, "texts": 30, "tokens": counters.tokens, "shared": True}


def test_a_text_that_another_collection_has_is_not_paid_again(stages: Stages, service: FakeEmbeddingService) -> None:
    stages.run(questions(5, "Shared."))
    service.reset()
    stages.collection += "-other"
    stages.run(questions(5, "Shared."))
    assert service.counters().texts == 0
    assert len(stages.served()) == 5


def test_a_text_that_two_runs_share_at_the_same_moment_serves_the_pairs_of_both(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run stores the vector while the other has looked for it and not yet committed its pair's passages."""
    stages.run(questions(1, "Makes the generation."))
    answer = f"Both say so of {stages.collection}."
    late = stages.begin(stages.write(questions(1, answer)), "late.csv")
    stages.decide(late)
    stages.collection += "-other"
    early = stages.begin(stages.write(questions(1, answer)), "early.csv")
    stages.decide(early)
    with phase(stages.database, early, "the first run", "embeddings") as batch:
        with stages.database.transaction() as connection:
            generation = active_generation(connection)
            imports = list_imports(connection, batch.id, [ImportState.PARSED])
        assert generation is not None
        [[text]] = texts.PendingTexts(stages.database, batch, imports, generation).new()
        reply = EmbeddingReply(np.ones((1, DIMENSIONS), "<f4").tobytes(), DIMENSIONS, tokens=3, requests=1)
        answers = [vectors.pack([text], reply)]

        def serve_before_the_vector_is_stored(of_late: psycopg.Connection, *_: object, **which: Any) -> None:
            serve_ready(of_late, generation, **which)
            with stages.database.transaction() as of_early:
                vectors.store(of_early, answers[:], generation, batch.run_id)
            answers.clear()

        monkeypatch.setattr(texts, "serve_ready", serve_before_the_vector_is_stored)
        stages.embed(late)
    assert not answers
    assert len(stages.query("SELECT 1 FROM helix.knowledge_base WHERE answer = %s", [answer])) == 2


def test_a_poisoned_text_fails_alone_with_its_code(stages: Stages, service: FakeEmbeddingService) -> None:
    service.set_faults(poison="poison")
    rows = [*questions(60, "Sound."), {"question": "Is this poison?", "answer": "Yes."}]
    key = stages.begin(stages.write(rows))
    stages.decide(key)
    report = stages.embed(key)
    stages.publish(key)
    assert (report.texts, report.failed, report.pending) == (60, 1, 0)
    assert len(stages.served()) == 60
    failed = stages.query(
        "SELECT e.error_code FROM helix.embedding e JOIN helix.passage t USING (text_hash)"
        " JOIN helix.qa_pair p ON p.id = t.pair_id WHERE e.state = 'failed' AND p.question = 'Is this poison?'"
    )
    assert len(failed) == 1
    assert failed[0]["error_code"]
    assert stages.violations() == []


def test_an_update_whose_embedding_fails_leaves_the_old_answer_served_and_stale(
    stages: Stages, service: FakeEmbeddingService
) -> None:
    old = {"question": "What is the fee?", "answer": "Ten."}
    stages.run([old, *questions(3, "Stay.")])
    service.set_faults(poison="poisoned")
    stages.run([old | {"answer": "A poisoned twelve."}, *questions(3, "Stay.")])
    assert ("What is the fee?", "Ten.") in stages.served()
    stale = stages.query(
        "SELECT stale FROM helix.knowledge_base WHERE collection = %s AND question = 'What is the fee?'",
        [stages.collection],
    )
    assert stale == [{"stale": True}]


def is_stale(stages: Stages, question: str) -> list[bool]:
    found = stages.query(
        "SELECT stale FROM helix.knowledge_base WHERE collection = %s AND question = %s", [stages.collection, question]
    )
    return [row["stale"] for row in found]


def test_an_old_answer_is_stale_also_where_its_update_had_failed_for_another_file(
    stages: Stages, service: FakeEmbeddingService
) -> None:
    service.set_faults(poison="poisoned")
    refused = {"question": "What is the fee?", "answer": f"A poisoned {stages.collection}."}
    stages.run([refused], "other.csv")
    stages.run([refused | {"answer": "Ten."}, *questions(3, "Stay.")])
    texts_sent = service.counters().texts
    stages.run([refused, *questions(3, "Stay.")])
    assert service.counters().texts == texts_sent, "what failed for good is not sent again"
    assert (refused["question"], "Ten.") in stages.served()
    assert is_stale(stages, refused["question"]) == [True]
    assert is_stale(stages, "Question 1?") == [False]


def test_an_old_answer_is_stale_where_one_text_of_its_update_is_new_and_another_had_failed(
    stages: Stages, service: FakeEmbeddingService
) -> None:
    """Both updates are long: their first texts are the same, and the last ones are not."""
    service.set_faults(poison="poisoned")
    refused = f"A poisoned {stages.collection}. " + "There is more to say. " * 150
    stages.run([{"question": "Why?", "answer": refused}], "other.csv")
    stages.run([{"question": "Why?", "answer": "Because."}])
    texts_sent = service.counters().texts
    stages.run([{"question": "Why?", "answer": f"{refused} That is all."}])
    assert service.counters().texts > texts_sent
    assert stages.served() == [("Why?", "Because.")]
    assert is_stale(stages, "Why?") == [True]


def test_the_old_answer_is_served_until_the_new_vector_is_stored(stages: Stages, service: FakeEmbeddingService) -> None:
    stages.run([{"question": "Who?", "answer": "She."}])
    service.set_faults(status=401)
    key = stages.begin(stages.write([{"question": "Who?", "answer": "They."}]), "faq.csv")
    stages.decide(key)
    with pytest.raises(PhaseError) as failure:
        stages.embed(key)
    assert not failure.value.recoverable
    assert stages.served() == [("Who?", "She.")]
    service.reset()
    with pytest.raises(PhaseError, match="helix breaker reset"):
        stages.embed(key)
    assert service.counters().requests == 0, "the gate is shut until somebody acts"
    stages.open_gate()
    stages.finish(key)
    assert stages.served() == [("Who?", "They.")]


def test_a_kill_between_requests_resends_nothing_that_was_stored(
    stages: Stages, service: FakeEmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = stages.begin(stages.write(questions(1000, "Killed.")))
    stages.decide(key)
    store = filling._Filling._store

    def dying(self: filling._Filling, outcomes: Sequence[filling.Arrived]) -> None:
        store(self, outcomes)
        if self.embedded:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(filling._Filling, "_store", dying)
        with pytest.raises(KeyboardInterrupt):
            stages.embed(key)
    stages.finish(key, "another-run")
    assert service.counters().texts_seen_twice <= 4 * 200, "three in flight and one waiting, of 200 texts"
    assert len(stages.served()) == 1000
    assert stages.violations() == []


def test_long_answers_are_split_and_served_only_with_all_their_vectors(
    stages: Stages, service: FakeEmbeddingService
) -> None:
    long = " ".join(f"Sentence number {number} says something new." for number in range(400))
    service.set_faults(poison="number 399")
    key = stages.begin(stages.write([{"question": "What is all of it?", "answer": long}]))
    stages.decide(key)
    stages.embed(key)
    passages = stages.query(
        "SELECT e.state FROM helix.passage t JOIN helix.qa_pair p ON p.id = t.pair_id"
        " JOIN helix.embedding e USING (text_hash) WHERE p.question = 'What is all of it?'"
    )
    assert sorted({row["state"] for row in passages}) == ["completed", "failed"]
    assert stages.served() == []


def test_settings_that_do_not_match_the_generation_are_refused(stages: Stages) -> None:
    stages.run(questions(1))
    with stages.database.transaction() as connection:
        with pytest.raises(SetupError, match="EMBEDDING_GENERATION_MISMATCH"):
            ensure_generation(connection, "another-model", DIMENSIONS)
        with pytest.raises(SetupError, match="EMBEDDING_GENERATION_MISMATCH"):
            ensure_generation(connection, MODEL, DIMENSIONS * 2)
        assert ensure_generation(connection, MODEL, None) is not None
