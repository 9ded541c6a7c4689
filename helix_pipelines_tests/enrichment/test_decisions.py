"""What becomes of the rows of a file, given what its source and its collection had before."""

from __future__ import annotations

from pathlib import Path

import pytest

from helix_pipelines.enrichment import decisions, ranges
from helix_pipelines.storage.batches import BatchSettings
from helix_pipelines.storage.checkpoints import write_checkpoint
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.stages import Stages, counts


def rows(*pairs: tuple[str, str], **columns: str) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer, **columns} for question, answer in pairs]


HOURS = ("When are you open?", "From nine to five.")
PARKING = ("Is there parking?", "Behind the house.")
LUNCH = ("Do you close for lunch?", "No.")


def test_the_rows_of_a_first_import_are_inserted_and_searchable(stages: Stages) -> None:
    assert counts(stages.run(rows(HOURS, PARKING))) == {"inserted": 2}
    assert stages.served() == sorted([HOURS, PARKING])
    assert stages.violations() == []


def test_twins_in_a_file_are_duplicates_with_occurrences_of_their_own(stages: Stages) -> None:
    record = stages.run(rows(HOURS, PARKING, HOURS))
    assert counts(record) == {"inserted": 2, "duplicate": 1}
    places = stages.query(
        "SELECT row_number FROM helix.occurrence WHERE collection_id ="
        " (SELECT id FROM helix.collection WHERE name = %s) ORDER BY 1",
        [stages.collection],
    )
    assert [place["row_number"] for place in places] == [1, 2, 3]


def test_texts_that_differ_in_form_only_are_the_same_content(stages: Stages) -> None:
    record = stages.run(rows(("Caf\u00e9?", "Yes."), ("Cafe\u0301?", "Yes."), ("Caf\u00e9?", "Yes. ")))
    assert counts(record) == {"inserted": 1, "duplicate": 2}


def test_the_same_bytes_again_are_not_read_again(stages: Stages, service: FakeEmbeddingService) -> None:
    first = stages.run(rows(HOURS, PARKING, HOURS))
    service.reset()
    again = stages.run(rows(HOURS, PARKING, HOURS))
    assert again["same_as"] == first["id"]
    assert counts(again) == {"unchanged": 3}
    assert stages.query("SELECT * FROM helix.import_row WHERE import_job_id = %s", [again["id"]]) == []
    assert service.counters().texts == 0


def test_a_corrected_answer_is_an_update_and_costs_one_text(stages: Stages, service: FakeEmbeddingService) -> None:
    stages.run(rows(HOURS, PARKING, LUNCH))
    service.reset()
    corrected = (PARKING[0], "In front of the house.")
    assert counts(stages.run(rows(HOURS, corrected, LUNCH))) == {"updated": 1, "unchanged": 2}
    assert service.counters().texts == 1
    assert stages.served() == sorted([HOURS, corrected, LUNCH])
    assert stages.violations() == []


def test_a_change_of_case_alone_is_an_update(stages: Stages) -> None:
    stages.run(rows(("Who runs it?", "Our it team.")))
    assert counts(stages.run(rows(("Who runs it?", "Our IT team.")))) == {"updated": 1}
    assert stages.served() == [("Who runs it?", "Our IT team.")]


def test_a_changed_category_is_no_change_of_content(stages: Stages, service: FakeEmbeddingService) -> None:
    stages.run(rows(HOURS, category="visit"))
    service.reset()
    assert counts(stages.run(rows(HOURS, category="opening hours"))) == {"unchanged": 1}
    assert service.counters().texts == 0
    found = stages.query("SELECT category FROM helix.knowledge_base WHERE collection = %s", [stages.collection])
    assert found == [{"category": "opening hours"}]


def test_the_owners_id_continues_a_row_whose_question_was_reworded(stages: Stages) -> None:
    stages.run([{"id": "7", "question": HOURS[0], "answer": HOURS[1]}])
    reworded = "What are your opening hours?"
    assert counts(stages.run([{"id": "7", "question": reworded, "answer": HOURS[1]}])) == {"updated": 1}
    assert stages.served() == [(reworded, HOURS[1])]


def test_an_ambiguous_question_is_not_guessed_but_reported(stages: Stages) -> None:
    stages.run(rows((HOURS[0], "Nine."), (HOURS[0], "Ten.")))
    record = stages.run(rows((HOURS[0], "Nine."), (HOURS[0], "Ten."), (HOURS[0], "Eleven.")))
    assert counts(record) == {"unchanged": 2, "inserted": 1, "conflicts": 1}


def test_another_answer_in_another_source_stays_beside_and_is_a_conflict(stages: Stages) -> None:
    stages.run(rows(HOURS), "a.csv")
    other = (HOURS[0], "Around the clock.")
    assert counts(stages.run(rows(other), "b.csv")) == {"inserted": 1, "conflicts": 1}
    assert stages.served() == sorted([HOURS, other])


def test_a_row_that_another_source_has_already_is_a_duplicate_and_keeps_the_pair_alive(stages: Stages) -> None:
    stages.run(rows(HOURS, PARKING), "a.csv")
    assert counts(stages.run(rows(HOURS), "b.csv")) == {"duplicate": 1}
    stages.run(rows(PARKING), "a.csv", mode="sync", settings=BatchSettings(drop_limit=0.9))
    assert stages.served() == sorted([HOURS, PARKING])


def test_append_keeps_vanished_rows_and_says_how_many(stages: Stages) -> None:
    stages.run(rows(HOURS, PARKING, LUNCH))
    assert counts(stages.run(rows(HOURS))) == {"unchanged": 1, "vanished": 2}
    assert len(stages.served()) == 3


def test_sync_closes_vanished_rows_below_the_limit(stages: Stages) -> None:
    stages.run(rows(HOURS, PARKING, LUNCH, ("A?", "a"), ("B?", "b")))
    record = stages.run(rows(HOURS, PARKING, LUNCH, ("A?", "a")), mode="sync")
    assert counts(record) == {"unchanged": 4, "vanished": 1, "closed": 1}
    assert ("B?", "b") not in stages.served()
    assert stages.violations() == []


def test_sync_stops_above_the_limit_and_changes_nothing(stages: Stages) -> None:
    stages.run(rows(HOURS, PARKING, LUNCH))
    record = stages.run(rows(HOURS, ("New?", "new")), mode="sync")
    assert (record["state"], record["error_code"]) == ("rejected", "SYNC_DROP_LIMIT")
    assert counts(record) == {}
    assert stages.served() == sorted([HOURS, PARKING, LUNCH])
    assert stages.violations() == []


def test_a_closed_row_that_returns_is_inserted_again(stages: Stages) -> None:
    settings = BatchSettings(drop_limit=0.9)
    stages.run(rows(HOURS, PARKING))
    stages.run(rows(HOURS), mode="sync", settings=settings)
    assert counts(stages.run(rows(PARKING, HOURS))) == {"inserted": 1, "unchanged": 1}
    assert stages.served() == sorted([HOURS, PARKING])


def test_the_later_arrival_decides_whatever_finishes_first(stages: Stages) -> None:
    stages.run(rows(HOURS))
    older = stages.begin(stages.write(rows((HOURS[0], "older"))), "faq.csv")
    newer = stages.begin(stages.write(rows((HOURS[0], "newer"))), "faq.csv")
    stages.finish(newer)
    stages.finish(older)
    assert stages.served() == [(HOURS[0], "newer")]
    assert stages.violations() == []


def test_neither_ranges_nor_a_kill_between_them_change_an_outcome(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = rows(*((f"Question {number % 40}?", f"Answer {number}.") for number in range(60)))
    new = rows(*((f"Question {number % 50}?", f"Answer {number // 2}.") for number in range(70)))
    stages.run(old, "whole.csv")
    whole = counts(stages.run(new, "whole.csv"))
    monkeypatch.setattr(ranges, "RANGE_ROWS", 5)
    stages.collection += "-cut"
    stages.run(old, "cut.csv")
    key = stages.begin(stages.write(new, "cut.csv"), "cut.csv")
    survive = [2, 9, 17, 26]
    steps = 0
    for limit in survive:
        with monkeypatch.context() as patch:
            patch.setattr(f"{decisions.__name__}.write_checkpoint", _dying_after(limit - steps))
            with pytest.raises(KeyboardInterrupt):
                stages.decide(key)
        steps = limit
    assert counts(stages.finish(key)) == whole
    assert stages.violations() == []


def _dying_after(chunks: int) -> object:
    left = [chunks]
    write = write_checkpoint

    def dying(*arguments: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(*arguments)  # type: ignore[arg-type]

    return dying


def test_categories_are_mapped_and_missing_ones_get_the_default(stages: Stages) -> None:
    settings = BatchSettings(category_map={"FAQ general": "general"}, default_category="other")
    stages.run(
        [
            {"question": "A?", "answer": "a", "category": " faq GENERAL "},
            {"question": "B?", "answer": "b", "category": ""},
            {"question": "C?", "answer": "c", "category": "billing"},
        ],
        settings=settings,
    )
    found = stages.query(
        "SELECT question, category FROM helix.knowledge_base WHERE collection = %s ORDER BY 1", [stages.collection]
    )
    assert [row["category"] for row in found] == ["general", "other", "billing"]


def test_a_file_with_a_header_only_is_rejected(stages: Stages, tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    path.write_text("question,answer\n")
    record = stages.finish(stages.begin(path))
    assert (record["state"], record["error_code"]) == ("rejected", "NO_RECORDS")
