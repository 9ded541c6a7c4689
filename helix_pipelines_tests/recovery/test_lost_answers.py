"""A database that goes away between a commit and its answer leaves nothing counted, read or paid for twice."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import tenacity

from helix_pipelines.storage import transactions
from helix_pipelines.storage.engine import Database
from helix_pipelines_tests.stages import Stages

OF_BATCH = "FROM helix.import_job j JOIN helix.import_batch b ON b.id = j.batch_id"
MOMENTS = {
    "an archive was unpacked": f"SELECT 1 {OF_BATCH} WHERE b.partition_key = %s AND j.state = 'unpacked'",
    "rows were read": f"SELECT 1 {OF_BATCH} WHERE b.partition_key = %s AND j.rows_read > 0",
    "rows were decided": f"SELECT 1 {OF_BATCH} WHERE b.partition_key = %s AND j.inserted > 0",
    "vectors were stored": f"SELECT 1 {OF_BATCH} JOIN helix.api_usage u ON u.import_job_id = j.id WHERE b.partition_key = %s",
}


class LosesAnswer(Database):
    """A pool that loses the answer to the first commit after which a statement finds something of a batch."""

    def __init__(self, url: str, statement: str, key: str) -> None:
        super().__init__(url)
        self.lost = False
        self._statement, self._key = statement, key

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        with super().transaction() as connection:
            yield connection
            lose = not self.lost and connection.execute(self._statement.encode(), [self._key]).fetchone() is not None
        if lose:
            self.lost = True
            raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_import_is_exact_whatever_commit_was_not_answered(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(transactions, "wait_exponential_jitter", lambda **_: tenacity.wait_none())
    path = stages.folder / "files.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one", "two"):
            archive.writestr(f"{name}.csv", f"question,answer\n{name} of {stages.collection}?,Yes.\n")
    key = stages.begin(path)
    stages.database.close()
    stages.database = losing = LosesAnswer(stages.url, MOMENTS[moment], key)
    stages.finish(key)
    assert losing.lost
    imports = stages.query(f"SELECT j.state, j.inserted {OF_BATCH} WHERE b.partition_key = %s ORDER BY j.id", [key])
    assert [(line["state"], line["inserted"]) for line in imports] == [
        ("unpacked", 0),
        ("completed", 1),
        ("completed", 1),
    ]
    [paid] = stages.query(
        f"SELECT sum(u.requests) AS requests, sum(u.texts) AS texts {OF_BATCH}"
        " JOIN helix.api_usage u ON u.import_job_id = j.id WHERE b.partition_key = %s",
        [key],
    )
    assert paid == {"requests": 1, "texts": 2}
    assert stages.violations() == []
