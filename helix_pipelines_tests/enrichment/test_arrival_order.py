"""Of two versions of a file the later arrival counts, wherever the earlier one was paused and whichever is finished first."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from helix_pipelines.enrichment import decisions, ranges
from helix_pipelines.ingestion.intake import take_in
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.staging import parse_batch
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.checkpoints import Checkpoint, write_checkpoint
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import Stages

KEPT = {"id": "1", "question": "When are you open?", "answer": "From nine to five."}
CORRECTED = {"id": "2", "question": "Is there parking?", "answer": "Behind the house."}
RENAMED = {"id": "3", "question": "Do you ship?", "answer": "Yes."}
DROPPED = {"id": "4", "question": "Do you close for lunch?", "answer": "No."}
ADDED = {"id": "5", "question": "Do you sell bread?", "answer": "On Mondays."}
FIRST = [KEPT, CORRECTED, RENAMED, DROPPED]
SECOND = [
    ADDED,
    {**CORRECTED, "answer": "In front of the house."},
    KEPT,
    {**RENAMED, "question": "Do you ship abroad?"},
]
SETTINGS = BatchSettings(drop_limit=1)
Standings = dict[tuple[str, bool], list[tuple[object, ...]]]


class PausedError(Exception):
    """A person pauses the batch here."""


def parse_only(stages: Stages, key: str) -> None:
    with phase(stages.database, key, "first run", "source_files") as batch:
        take_in(stages.database, batch, stages.store, ParseLimits())
    with phase(stages.database, key, "first run", "parsed_rows") as batch:
        parse_batch(stages.database, batch, stages.store, ParseLimits())


def decide_until(checkpoint: str) -> Callable[[Stages, str], None]:
    """All that comes before a checkpoint of the matching or deciding; each row or two are a range."""

    def work(stages: Stages, key: str) -> None:

        def pause_before(connection: psycopg.Connection, job: int, phase: str, done: Checkpoint) -> None:
            if phase == checkpoint:
                raise PausedError
            write_checkpoint(connection, job, phase, done)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(PausedError):
            patch.setattr(decisions, "write_checkpoint", pause_before)
            stages.decide(key, "first run")

    return work


def decide(stages: Stages, key: str) -> None:
    stages.decide(key, "first run")


def embed(stages: Stages, key: str) -> None:
    stages.decide(key, "first run")
    stages.embed(key, "first run")


PLACES = {
    "parsing": parse_only,
    "matching by content": decide_until("match_content/2"),
    "matching by question": decide_until("match_question/2"),
    "matching": decide_until("decide/0"),
    "half of deciding": decide_until("decide/2"),
    "deciding": decide,
    "embedding": embed,
}


def standing(stages: Stages) -> list[tuple[object, ...]]:
    """What is searched, and from which row of which version it comes."""
    rows = stages.query(
        "SELECT p.question, p.answer, o.row_number, o.stale, o.served_pair_id = o.pair_id AS is_served,"
        " dense_rank() OVER (ORDER BY j.arrival) AS version"
        " FROM helix.occurrence o JOIN helix.qa_pair p ON p.id = o.pair_id JOIN helix.import_job j ON j.id = o.import_job_id"
        " WHERE o.collection_id = (SELECT id FROM helix.collection WHERE name = %s) ORDER BY 1, 2, 3",
        [stages.collection],
    )
    return [tuple(row.values()) for row in rows]


def with_earlier_version(stages: Stages) -> None:
    """Something to match with: a version before both."""
    stages.run([{**KEPT, "answer": "Always."}, DROPPED], settings=SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(
    database_url: str, shared_service: FakeEmbeddingService, tmp_path_factory: pytest.TempPathFactory
) -> Standings:
    """How it stands if nothing is ever paused, by mode and whether there was an earlier version."""
    standings: Standings = {}
    for mode in ("append", "sync"):
        for with_earlier in (False, True):
            stages = Stages(database_url, tmp_path_factory.mktemp("undisturbed"), shared_service.url)
            if with_earlier:
                with_earlier_version(stages)
            stages.run(FIRST, mode=mode, settings=SETTINGS)
            stages.run(SECOND, mode=mode, settings=SETTINGS)
            standings[mode, with_earlier] = standing(stages)
            stages.database.close()
    return standings


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_ROWS", 1)
    monkeypatch.setattr(decisions, "RANGES_AT_ONCE", 1)


@pytest.mark.parametrize("with_earlier", [False, True])
@pytest.mark.parametrize("mode", ["append", "sync"])
@pytest.mark.parametrize("place", PLACES)
def test_a_paused_version_that_is_resumed_later_changes_nothing_of_the_next(
    stages: Stages, undisturbed: Standings, place: str, mode: str, with_earlier: bool
) -> None:
    if with_earlier:
        with_earlier_version(stages)
    first = stages.begin(stages.write(FIRST), mode=mode, settings=SETTINGS)
    PLACES[place](stages, first)
    stages.finish(stages.begin(stages.write(SECOND), mode=mode, settings=SETTINGS))
    stages.finish(first, "second run")
    assert standing(stages) == undisturbed[mode, with_earlier]
    assert stages.violations() == []


@pytest.mark.parametrize("with_earlier", [False, True])
@pytest.mark.parametrize("mode", ["append", "sync"])
@pytest.mark.parametrize("place", PLACES)
def test_a_version_that_is_finished_while_the_next_is_paused_changes_nothing_of_it(
    stages: Stages, undisturbed: Standings, place: str, mode: str, with_earlier: bool
) -> None:
    if with_earlier:
        with_earlier_version(stages)
    first = stages.begin(stages.write(FIRST), mode=mode, settings=SETTINGS)
    second = stages.begin(stages.write(SECOND), mode=mode, settings=SETTINGS)
    PLACES[place](stages, second)
    stages.finish(first)
    stages.finish(second, "second run")
    assert standing(stages) == undisturbed[mode, with_earlier]
    assert stages.violations() == []


@pytest.mark.parametrize("later_first", [False, True])
@pytest.mark.parametrize("mode", ["append", "sync"])
def test_of_two_versions_that_are_decided_at_the_same_time_one_waits_for_the_other(
    stages: Stages, undisturbed: Standings, monkeypatch: pytest.MonkeyPatch, mode: str, later_first: bool
) -> None:
    with_earlier_version(stages)
    keys = [stages.begin(stages.write(rows), "faq.csv", mode=mode, settings=SETTINGS) for rows in (FIRST, SECOND)]
    one, other = reversed(keys) if later_first else keys
    in_the_middle, go_on = threading.Event(), threading.Event()

    def stand_still(connection: psycopg.Connection, job: int, phase: str, done: Checkpoint) -> None:
        write_checkpoint(connection, job, phase, done)
        if phase == "match_question/3" and not in_the_middle.is_set():
            in_the_middle.set()
            go_on.wait(60)

    monkeypatch.setattr(decisions, "write_checkpoint", stand_still)
    with ThreadPoolExecutor(2) as threads:
        deciding = threads.submit(stages.decide, one, "one run")
        assert in_the_middle.wait(60)
        waiting = threads.submit(stages.decide, other, "the other run")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1.5)
        go_on.set()
        deciding.result()
        waiting.result()
    stages.finish(one, "one run")
    stages.finish(other, "the other run")
    assert standing(stages) == undisturbed[mode, True]
    assert stages.violations() == []


def test_a_sync_of_which_a_part_was_decided_is_not_refused_for_what_an_earlier_version_brings_late(
    stages: Stages,
) -> None:
    with_earlier_version(stages)
    many = [{"question": f"More {number}?", "answer": "Yes."} for number in range(20)]
    early = stages.begin(stages.write([KEPT, *many]), "faq.csv")
    parse_only(stages, early)
    late = stages.begin(
        stages.write([{**KEPT, "answer": "Never."}, CORRECTED, RENAMED, DROPPED]), "faq.csv", mode="sync"
    )
    decide_until("decide/2")(stages, late)
    stages.finish(early, "second run")
    assert stages.finish(late, "second run")["state"] == "completed"
    assert len(stages.served()) == 4
    assert stages.violations() == []
