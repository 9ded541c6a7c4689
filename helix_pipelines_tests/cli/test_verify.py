from __future__ import annotations

import psycopg

from helix_pipelines_tests.cli.conftest import RunHelix


def test_a_sound_database_passes(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    ended = helix_on_database("verify", "--json")
    assert ended.code == 0
    assert ended.document["ok"] is True
    assert all(finding["ok"] for finding in ended.document["findings"])


def test_a_row_that_is_not_accounted_for_fails(helix_on_database: RunHelix, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO helix.collection (name) VALUES ('c')")
    connection.execute("INSERT INTO helix.source (collection_id, name) VALUES (1, 's')")
    connection.execute("INSERT INTO helix.import_batch (partition_key, name, state) VALUES ('b', 'b', 'done')")
    connection.execute(
        "INSERT INTO helix.import_job (batch_id, source_id, path, mode, state, rows_read, inserted, pipeline_version)"
        " VALUES (1, 1, 'f', 'append', 'completed', 2, 2, '1')"
    )
    ended = helix_on_database("verify", "--json")
    assert ended.code == 1
    assert "ledger_adds_up" in [finding["check"] for finding in ended.document["findings"] if not finding["ok"]]
    assert "FAIL ledger_adds_up" in helix_on_database("verify").stdout
