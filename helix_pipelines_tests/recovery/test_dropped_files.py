"""What the files of a campaign are said to come to is what they come to without any kill."""

from __future__ import annotations

from helix_pipelines_tests.recovery.dropped_files import DroppedFiles
from helix_pipelines_tests.stages import Stages, counts

ROUNDS = 8
SEED = 26
"""Files of a collection get up to three versions with it."""
COLLECTION = "alpha"


def test_the_outcomes_and_the_result_of_dropped_files_are_foreseen(stages: Stages) -> None:
    files = DroppedFiles(seed=SEED, least=20, most=60)
    inbox = stages.folder / "inbox"
    versions = 0
    for number in range(ROUNDS):
        [drop] = [drop for drop in files.round(number) if drop.collection == COLLECTION]
        versions += drop.outcomes.get("updated", 0) > 0
        drop.write(inbox)
        record = stages.finish(stages.begin(inbox / drop.path, drop.path))
        assert {name: record[name] for name in drop.outcomes} == drop.outcomes, counts(record)
        assert record["rows_read"] == len(drop.rows)
    assert versions >= 4
    assert stages.served() == sorted(row[1:] for row in files.served if row[0] == COLLECTION)


def test_a_seed_makes_the_same_files_again() -> None:
    once, again = (DroppedFiles(seed=3, least=5, most=9) for _ in range(2))
    assert [once.round(number) for number in range(4)] == [again.round(number) for number in range(4)]
    assert once.texts() == again.texts()
