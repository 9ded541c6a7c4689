"""A file that goes back to what it was before is taken for the same only where nothing has come between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helix_pipelines_tests.stages import Stages, counts

FEE = {"question": "What is the fee?", "answer": "Ten."}
OPEN = {"question": "Open?", "answer": "Yes."}
WRONG = FEE | {"answer": "A wrong twelve."}


def decided(stages: Stages, key: str) -> None:
    """As a batch is left whose embedding service is away."""
    stages.decide(key)


def cancelled(stages: Stages, key: str) -> None:
    stages.decide(key)
    stages.embed(key)
    with stages.database.transaction() as connection:
        connection.execute(
            "UPDATE helix.import_batch SET state = 'cancelled', lease_token = NULL WHERE partition_key = %s", [key]
        )


def not_begun(stages: Stages, key: str) -> None:
    """As a batch is left that waits in the queue."""


@pytest.mark.parametrize("leave", [not_begun, decided, cancelled])
def test_a_file_put_right_is_read_though_its_wrong_version_is_unfinished(
    stages: Stages, leave: Callable[[Stages, str], None]
) -> None:
    stages.run([FEE, OPEN])
    leave(stages, stages.begin(stages.write([WRONG, OPEN])))
    record = stages.run([FEE, OPEN])
    assert record["same_as"] is None
    assert (FEE["question"], FEE["answer"]) in stages.served()
    assert (WRONG["question"], WRONG["answer"]) not in stages.served()
    assert stages.violations() == []


@pytest.mark.parametrize("leave", [not_begun, decided])
def test_a_wrong_version_that_is_finished_late_changes_nothing_any_more(
    stages: Stages, leave: Callable[[Stages, str], None]
) -> None:
    stages.run([FEE, OPEN])
    wrong = stages.begin(stages.write([WRONG, OPEN]))
    leave(stages, wrong)
    stages.run([FEE, OPEN])
    stages.finish(wrong, "a later run")
    assert stages.served() == sorted((row["question"], row["answer"]) for row in (FEE, OPEN))
    assert stages.violations() == []


def test_a_file_put_right_is_the_measure_of_the_next_one_again(stages: Stages) -> None:
    stages.run([FEE, OPEN])
    decided(stages, stages.begin(stages.write([WRONG, OPEN])))
    right = stages.run([FEE, OPEN])
    assert stages.run([FEE, OPEN])["same_as"] == right["id"]


def test_the_same_bytes_are_not_read_a_third_time_while_the_second_import_is_unfinished(stages: Stages) -> None:
    first = stages.run([FEE, OPEN])
    decided(stages, stages.begin(stages.write([FEE, OPEN])))
    third = stages.run([FEE, OPEN])
    assert third["same_as"] == first["id"]
    assert counts(third) == {"unchanged": 2}
    assert stages.query("SELECT 1 FROM helix.import_row WHERE import_job_id = %s", [third["id"]]) == []


def test_a_rejected_version_keeps_no_file_from_being_the_same(stages: Stages) -> None:
    first = stages.run([FEE, OPEN])
    empty = stages.folder / "empty.csv"
    empty.write_bytes(b"")
    assert stages.finish(stages.begin(empty, "faq.csv"))["state"] == "rejected"
    assert stages.run([FEE, OPEN])["same_as"] == first["id"]
