"""`helix queue`, as a person at a terminal and a script use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helix_pipelines.storage.batches import BatchSettings, FileRequest, create_batch
from helix_pipelines_tests.cli.conftest import RunHelix, slow_modules_of


@pytest.fixture
def queue(connection: psycopg.Connection, helix_on_database: RunHelix) -> list[str]:
    """Four queued batches, in their order."""
    return [make(connection, name) for name in "abcd"]


def make(connection: psycopg.Connection, name: str) -> str:
    return create_batch(connection, name, [FileRequest(f"/{name}.csv", "c", f"{name}.csv")], BatchSettings())


def change(connection: psycopg.Connection, batch: str, state: str, **columns: Any) -> None:
    """Bring a queued batch to a state by the way that batches come to it."""
    for step in dict.fromkeys(["launched", "running", state]) if state != "launched" else ["launched"]:
        connection.execute(
            "UPDATE helix.import_batch SET state = %s, position = NULL WHERE partition_key = %s", [step, batch]
        )
    for name, value in columns.items():
        statement = f"UPDATE helix.import_batch SET {name} = %s WHERE partition_key = %s"
        connection.execute(statement.encode(), [value, batch])


def listed(helix: RunHelix, *options: str) -> list[tuple[str, str, int | None]]:
    batches = helix("queue", "list", "--json", *options).document["batches"]
    return [(line["batch"], line["state"], line["position"]) for line in batches]


@pytest.mark.usefixtures("connection")
def test_an_empty_queue_says_what_to_do(helix_on_database: RunHelix) -> None:
    assert "helix queue add" in helix_on_database("queue", "list").stdout
    document = helix_on_database("queue", "list", "--json").document
    assert document["batches"] == []
    assert set(document["counts"].values()) == {0}


def test_everything_unfinished_is_listed_in_the_order_of_its_life(
    helix_on_database: RunHelix, queue: list[str], connection: psycopg.Connection
) -> None:
    failed, running, paused = (make(connection, name) for name in ("failed", "running", "paused"))
    change(connection, failed, "error", error='{"code": "EMBEDDING_UNAUTHORIZED", "message": "Check the key."}')
    change(connection, running, "running", stop_requested="pause")
    change(connection, paused, "paused")
    change(connection, queue[0], "launched")
    assert listed(helix_on_database) == [
        (running, "running", None),
        (queue[0], "launched", None),
        (queue[1], "queued", 1),
        (queue[2], "queued", 2),
        (queue[3], "queued", 3),
        (paused, "paused", None),
        (failed, "error", None),
    ]
    printed = helix_on_database("queue", "list").stdout
    assert "EMBEDDING_UNAUTHORIZED" in printed
    assert "pause requested" in printed


def test_the_list_is_as_long_as_was_asked_for_and_says_what_it_leaves_out(
    helix_on_database: RunHelix, queue: list[str]
) -> None:
    assert listed(helix_on_database, "--limit", "2") == [(queue[0], "queued", 1), (queue[1], "queued", 2)]
    assert helix_on_database("queue", "list", "--limit", "2", "--json").document["counts"]["queued"] == 4
    assert "... and 2 more queued: --limit shows them." in helix_on_database("queue", "list", "--limit", "2").stdout
    assert helix_on_database("queue", "list", "--limit", "0").code == 2


def test_a_batch_that_waits_for_another_try_says_until_when(
    helix_on_database: RunHelix, queue: list[str], connection: psycopg.Connection
) -> None:
    connection.execute(
        "UPDATE helix.import_batch SET retry_at = now() + interval '3 days', created_at = now() - interval '5 hours'"
        " WHERE partition_key = %s",
        [queue[0]],
    )
    first = helix_on_database("queue", "list", "--json").document["batches"][0]
    assert first["not_before"] is not None
    assert 5 * 3600 <= first["age"] < 5 * 3600 + 600
    line = next(line for line in helix_on_database("queue", "list").stdout.splitlines() if queue[0] in line)
    assert "5 h" in line
    assert first["not_before"][:4] in line


def test_every_verb_says_what_became_of_the_batch(helix_on_database: RunHelix, queue: list[str]) -> None:
    def do(verb: str, *arguments: str) -> tuple[str, int | None]:
        ended = helix_on_database("queue", verb, queue[2], *arguments, "--json")
        assert ended.code == 0, ended.stderr
        assert ended.document["batch"] == queue[2]
        return ended.document["state"], ended.document["position"]

    assert do("reorder", "2") == ("queued", 2)
    assert do("promote") == ("queued", 1)
    assert do("reorder", "99") == ("queued", 4)
    assert do("pause") == ("paused", None)
    assert do("resume") == ("queued", 4)
    assert do("cancel") == ("cancelled", None)
    assert do("retry") == ("queued", 4)
    assert helix_on_database("queue", "promote", queue[2]).stdout == (
        f"Batch {queue[2]} is queued at place 1, with priority 0.\n"
    )


@pytest.mark.parametrize(
    ("verb", "state", "words"),
    [
        ("pause", "running", "is running; it will be paused after its current chunk."),
        ("cancel", "launched", "is launched; it will be cancelled as soon as its run begins."),
    ],
)
def test_a_batch_under_way_is_asked_to_stop(
    helix_on_database: RunHelix, queue: list[str], connection: psycopg.Connection, verb: str, state: str, words: str
) -> None:
    change(connection, queue[0], state)
    ended = helix_on_database("queue", verb, queue[0], "--json")
    assert (ended.document["state"], ended.document["stop_requested"]) == (state, verb)
    assert words in helix_on_database("queue", verb, queue[0]).stdout


def test_a_pause_that_was_not_heeded_yet_is_taken_back(
    helix_on_database: RunHelix, queue: list[str], connection: psycopg.Connection
) -> None:
    change(connection, queue[0], "running")
    helix_on_database("queue", "pause", queue[0])
    resumed = helix_on_database("queue", "resume", queue[0], "--json").document
    assert (resumed["state"], resumed["stop_requested"]) == ("running", None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pause", "no-such-batch"), "BATCH_UNKNOWN"),
        (("reorder", "{batch}", "1"), "QUEUE_STATE"),
        (("promote", "{batch}"), "QUEUE_STATE"),
        (("pause", "{batch}"), "QUEUE_STATE"),
        (("resume", "{batch}"), "QUEUE_STATE"),
        (("cancel", "{batch}"), "QUEUE_STATE"),
        (("retry", "{batch}"), "QUEUE_STATE"),
        (("reorder", "{batch}", "0"), "USAGE"),
        (("reorder", "{batch}"), "USAGE"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_code(
    helix_on_database: RunHelix,
    queue: list[str],
    connection: psycopg.Connection,
    arguments: tuple[str, ...],
    code: str,
) -> None:
    change(connection, queue[0], "done")
    ended = helix_on_database("queue", *(part.format(batch=queue[0]) for part in arguments), "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == code


def test_what_a_person_does_is_audited_in_their_name(
    helix_on_database: RunHelix, queue: list[str], connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    helix_on_database("queue", "pause", queue[0])
    lines = connection.execute("SELECT changed FROM helix.audit_log WHERE actor = 'ada (helix)'").fetchall()
    assert [set(line[0]) for line in lines] == [{"state", "position"}]


def add(helix: RunHelix, *arguments: str) -> dict[str, Any]:
    ended = helix("queue", "add", *arguments, "--json")
    assert ended.code == 0, ended.stderr
    document: dict[str, Any] = ended.document
    return document


def write(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text("question,answer\nWhat is it?,This.\n", encoding="utf-8")
    return str(path)


def test_files_are_queued_as_one_batch_by_their_priority(
    helix_on_database: RunHelix, queue: list[str], tmp_path: Path, connection: psycopg.Connection
) -> None:
    usual = add(helix_on_database, write(tmp_path, "usual.csv"))
    assert (usual["state"], usual["position"], usual["priority"]) == ("queued", 5, 0)
    urgent = add(helix_on_database, write(tmp_path, "x.csv"), write(tmp_path, "y.csv"), "--priority", "5", "-c", "hr")
    assert urgent["position"] == 1
    files = connection.execute(
        "SELECT c.name, s.name FROM helix.import_job j JOIN helix.import_batch b ON b.id = j.batch_id"
        " JOIN helix.source s ON s.id = j.source_id JOIN helix.collection c ON c.id = s.collection_id"
        " WHERE b.partition_key = %s ORDER BY j.arrival",
        [urgent["batch"]],
    ).fetchall()
    assert files == [("hr", "x.csv"), ("hr", "y.csv")]


@pytest.mark.parametrize("state", ["queued", "launched", "running", "paused", "deferred", "error"])
def test_unfinished_files_that_are_added_again_keep_their_batch(
    helix_on_database: RunHelix, tmp_path: Path, connection: psycopg.Connection, state: str
) -> None:
    path = write(tmp_path, "faq.csv")
    first = add(helix_on_database, path)
    if state != "queued":
        change(connection, first["batch"], state)
    again = add(helix_on_database, path, "--priority", "3")
    assert again["batch"] == first["batch"]
    assert again["priority"] == 3
    assert again["state"] == (state if state in {"launched", "running"} else "queued")


def test_a_file_that_does_not_exist_is_wrong_use(helix_on_database: RunHelix, queue: list[str]) -> None:
    ended = helix_on_database("queue", "add", "missing.csv", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (2, "PATH_MISSING")
    assert helix_on_database("queue", "add", "missing.csv", "--priority", "5000").code == 2


def test_what_cannot_be_imported_of_a_folder_is_left_out_and_told(
    helix_on_database: RunHelix, tmp_path: Path, connection: psycopg.Connection
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    write(folder, "faq.csv")
    (folder / os.fsdecode(b"caf\xe9.csv")).touch()
    (folder / "loop\x1b.csv").symlink_to("loop\x1b.csv")
    ended = helix_on_database("queue", "add", str(folder), "--json")
    assert (ended.code, ended.document["state"]) == (0, "queued")
    loop, name = ended.stderr.splitlines()[::-1]
    assert r"caf\xe9.csv has a name that is not UTF-8: rename it." in name
    assert r"loop\x1b.csv cannot be looked at: Too many levels of symbolic links." in loop
    assert connection.execute("SELECT path FROM helix.import_job").fetchall() == [(str(folder / "faq.csv"),)]


def test_a_folder_of_files_left_out_has_its_notes_bounded(helix_on_database: RunHelix, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    write(folder, "faq.csv")
    for number in range(30):
        (folder / f"{number}.csv").symlink_to("nosuch")
    lines = helix_on_database("queue", "add", str(folder)).stderr.splitlines()
    assert (len(lines), lines[-1]) == (21, "... and 10 more were left out.")


@pytest.mark.usefixtures("queue")
def test_looking_at_the_queue_loads_nothing_slow() -> None:
    assert slow_modules_of("queue", "list", "--json") == set()


@pytest.mark.parametrize("verb", ["list", "add", "pause", "resume", "promote", "reorder", "cancel", "retry"])
def test_every_verb_teaches_its_use(helix: RunHelix, verb: str) -> None:
    ended = helix("queue", verb, "--help")
    assert ended.code == 0
    assert f"helix queue {verb}" in ended.stdout.split("Usage:")[1]
    assert "--json" in ended.stdout
