"""A batch is closed only once all of its files are read, decided and embedded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helix_pipelines.ingestion.intake import take_in
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.staging import parse_batch
from helix_pipelines.resilience.errors import PhaseError
from helix_pipelines.storage.batch_runs import phase
from helix_pipelines_tests.stages import Stages

ROWS = [{"question": "What is the fee?", "answer": "Ten."}, {"question": "Open?", "answer": "Yes."}]


def nothing(stages: Stages, key: str) -> None:
    """Only the last asset is materialized."""


def source_files(stages: Stages, key: str) -> None:
    with phase(stages.database, key, f"run-{key}", "source_files") as batch:
        take_in(stages.database, batch, stages.store, ParseLimits())


def parsed_rows(stages: Stages, key: str) -> None:
    source_files(stages, key)
    with phase(stages.database, key, f"run-{key}", "parsed_rows") as batch:
        parse_batch(stages.database, batch, stages.store, ParseLimits())


@pytest.mark.parametrize("done", [nothing, source_files, parsed_rows])
def test_a_batch_with_files_that_are_not_read_and_decided_is_not_closed(
    stages: Stages, done: Callable[[Stages, str], None]
) -> None:
    key = stages.begin(stages.write(ROWS))
    done(stages, key)
    with pytest.raises(PhaseError, match="materialize its source_files, parsed_rows, qa_pairs") as refused:
        stages.publish(key)
    assert (refused.value.code, refused.value.recoverable) == ("FILES_NOT_READ", True)
    assert stages.query("SELECT state FROM helix.import_batch WHERE partition_key = %s", [key]) == [
        {"state": "running"}
    ]
    assert stages.finish(key)["state"] == "completed"


def test_a_batch_whose_texts_have_no_vectors_is_not_closed(stages: Stages) -> None:
    key = stages.begin(stages.write(ROWS))
    stages.decide(key)
    with pytest.raises(PhaseError, match="EMBEDDINGS_PENDING"):
        stages.publish(key)
    assert stages.finish(key)["state"] == "completed"


def test_a_rejected_file_holds_up_no_batch(stages: Stages) -> None:
    empty = stages.folder / "empty.csv"
    empty.write_bytes(b"")
    key = stages.begin(empty)
    assert stages.finish(key)["state"] == "rejected"
    assert stages.query("SELECT state FROM helix.import_batch WHERE partition_key = %s", [key]) == [{"state": "done"}]
