"""A rehearsal foretells what the import does, and leaves everything as it was."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.rehearsal.rehearsal import rehearse
from helix_pipelines.storage.batches import BatchSettings, FileRequest, Mode
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService
from helix_pipelines_tests.rehearsal.foretelling import (
    begin,
    foretold,
    imported,
    nothing_changed,
    rehearsed,
    terms,
    texts_tried,
)
from helix_pipelines_tests.stages import Stages

DROP_LIMIT = 0.6


class File(NamedTuple):
    source: str
    mode: Mode
    rows: list[tuple[str, str, str]]


class Command(NamedTuple):
    files: list[File]
    is_embedded: bool


rows = st.tuples(
    st.sampled_from(["How?", "how", "Why?", "Where?", "When?"]),
    st.sampled_from(["a", "A", "b c", "b  c", "", "poison"]),
    st.sampled_from(["", "", "1", "2", "3"]),
)
files = st.builds(
    File,
    st.sampled_from(["one", "two"]),
    st.sampled_from(["append", "sync"]),
    st.lists(rows, min_size=1, max_size=7),
)
commands = st.builds(Command, st.lists(files, min_size=1, max_size=3), st.sampled_from([True, True, False]))


def alone(*rows: tuple[str, str, str], source: str = "one", is_embedded: bool = True) -> Command:
    return Command([File(source, "append", list(rows))], is_embedded)


CONTINUED_BY_ITS_SECOND_TWIN = [alone(("How?", "A", "1")), alone(("How?", "a", ""), ("How?", "a", "1"))]
SERVED_AS_ITS_CORRECTION_WAS_REFUSED = [
    alone(("How?", "a", "")),
    alone(("How?", "poison", "")),
    alone(("How?", "a", ""), source="two"),
    Command([File("one", "append", [("Why?", "a", "")]), File("two", "append", [("How?", "a", "")])], is_embedded=True),
]
DECIDED_AND_NOT_EMBEDDED = [
    alone(("How?", "a", ""), ("Why?", "b c", ""), is_embedded=False),
    alone(("How?", "a", ""), source="two"),
]

PUT_RIGHT_WHILE_THE_WRONG_VERSION_IS_UNFINISHED = [
    alone(("How?", "a", "")),
    alone(("How?", "b c", ""), is_embedded=False),
    alone(("How?", "a", "")),
]
PUT_RIGHT_IN_THE_SAME_BATCH = [
    alone(("How?", "a", "")),
    Command(
        [File("one", "append", [("How?", answer, "")]) for answer in ("a", "a", "b c", "a", "b c")], is_embedded=True
    ),
]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, min_size=2, max_size=3))
@example(CONTINUED_BY_ITS_SECOND_TWIN)
@example(SERVED_AS_ITS_CORRECTION_WAS_REFUSED)
@example(DECIDED_AND_NOT_EMBEDDED)
@example(PUT_RIGHT_WHILE_THE_WRONG_VERSION_IS_UNFINISHED)
@example(PUT_RIGHT_IN_THE_SAME_BATCH)
def test_the_figures_are_those_of_the_import_that_follows(
    stages: Stages, service: FakeEmbeddingService, history: Sequence[Command]
) -> None:
    service.set_faults(poison="poison")
    stages.collection = f"c-{secrets.token_hex(4)}"
    for command in history:
        requests = [requested(stages, file) for file in command.files]
        with nothing_changed(stages.url):
            rehearsal = rehearsed(stages, requests, drop_limit=DROP_LIMIT)
        key = begin(stages, requests, drop_limit=DROP_LIMIT)
        stages.decide(key)
        before = texts_tried(stages)
        if command.is_embedded:
            stages.embed(key)
            stages.publish(key)
            assert rehearsal.embedding.texts == texts_tried(stages) - before
        assert foretold(rehearsal) == imported(stages, key)


def requested(stages: Stages, file: File) -> FileRequest:
    """The file in a folder of its own; its texts are no other example's, whose vectors would be known."""
    lines = [
        {"question": f"{stages.collection} {question}", "answer": answer, "id": key}
        for question, answer, key in file.rows
    ]
    return FileRequest(str(stages.write(lines)), stages.collection, file.source, mode=file.mode)


def rows_of(stages: Stages, *numbers: int) -> Path:
    return stages.write([{"question": f"{stages.collection} {n}?", "answer": f"It is {n}."} for n in numbers])


def test_no_request_is_sent_and_the_session_cannot_write(stages: Stages, service: FakeEmbeddingService) -> None:
    request = FileRequest(str(rows_of(stages, *range(450))), stages.collection, "faq.csv")
    with psycopg.connect(stages.url, autocommit=True) as connection:
        with nothing_changed(stages.url):
            found = rehearse(connection, [request], ParseLimits(), terms(None), BatchSettings())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO helix.collection (name) VALUES ('written')")
    assert (found.embedding.requests, found.embedding.texts) == (3, 450)
    assert service.counters().requests == 0
    assert not (stages.folder / "store").exists()


def test_the_requests_foretold_are_those_that_are_sent(stages: Stages, service: FakeEmbeddingService) -> None:
    requests = [
        FileRequest(str(rows_of(stages, *range(numbers))), stages.collection, f"{numbers}.csv")
        for numbers in (300, 450)
    ]
    found = rehearsed(stages, requests).embedding
    key = begin(stages, requests)
    stages.decide(key)
    report = stages.embed(key)
    assert (found.requests, found.texts) == (report.requests, report.texts) == (3, 450)


def test_every_file_of_an_archive_is_told_under_its_own_path(stages: Stages) -> None:
    path = stages.folder / "faq.zip"
    with zipfile.ZipFile(path, "w") as package:
        package.write(rows_of(stages, 1, 2), "en/faq.csv")
        package.writestr("inner.zip", b"PK\x05\x06" + bytes(18))
        package.writestr("logo.png", b"\x89PNG\r\n\x1a\n" + bytes(50))
    requests = [
        FileRequest(str(path), stages.collection, "faq.zip"),
        FileRequest(str(rows_of(stages, 2, 3)), stages.collection, "other.csv"),
    ]
    with nothing_changed(stages.url):
        told = foretold(rehearsed(stages, requests))
    key = begin(stages, requests)
    stages.decide(key)
    assert told == imported(stages, key)
    assert [(file["source"], file["inserted"], file["duplicate"]) for file in told[:2]] == [
        ("other.csv", 2, 0),
        ("faq.zip/en/faq.csv", 1, 1),
    ]
    assert len(told) == 4
    assert not (stages.folder / "store" / "unpacked").exists()


def test_the_same_bytes_name_the_import_that_read_them_and_its_refused_rows(stages: Stages) -> None:
    path = stages.write([{"question": "A?", "answer": ""}, {"question": f"{stages.collection}?", "answer": "b"}])
    first = stages.finish(stages.begin(path, "faq.csv"))
    found = rehearsed(stages, [FileRequest(str(path), stages.collection, "faq.csv")])
    [file] = found.files
    assert (file.status, file.same_as, file.rows_read, file.unchanged) == ("unchanged", first["id"], 2, 1)
    assert [(line["code"], line["count"], line["rows"]) for line in file.quarantine] == [("ANSWER_MISSING", 1, [1])]
    assert found.embedding.texts == 0


def test_refused_rows_are_counted_by_code_with_the_first_of_them(stages: Stages) -> None:
    lines = [{"question": f"Q{n}?", "answer": "" if n % 2 else "yes"} for n in range(20)]
    [file] = rehearsed(stages, [FileRequest(str(stages.write(lines)), stages.collection, "faq.csv")]).files
    [line] = file.quarantine
    assert (line["code"], line["count"], line["rows"]) == ("ANSWER_MISSING", 10, [2, 4, 6, 8, 10])
    assert "answer" in line["reason"]


def test_texts_that_an_earlier_import_left_for_later_are_told(stages: Stages) -> None:
    stages.finish(stages.begin(rows_of(stages, 1, 2, 3), "one.csv"))
    with stages.database.transaction() as connection:
        connection.execute(
            "UPDATE helix.embedding e SET state = 'pending', vector = NULL, segment = NULL FROM helix.passage t"
            " WHERE t.text_hash = e.text_hash AND t.body LIKE %s",
            [f"{stages.collection} 2%"],
        )
    request = FileRequest(str(rows_of(stages, 2, 3, 4)), stages.collection, "two.csv")
    assert rehearsed(stages, [request]).embedding.texts == 2


def test_a_file_that_turns_out_unreadable_leaves_nothing_to_those_after_it(stages: Stages) -> None:
    good = rows_of(stages, 1)
    bad = stages.folder / "bad.jsonl"
    bad.write_bytes(b"")
    requests = [
        FileRequest(str(bad), stages.collection, "bad"),
        FileRequest(str(stages.folder / "gone.csv"), stages.collection, "gone"),
        FileRequest(str(good), stages.collection, "good"),
    ]
    told = rehearsed(stages, requests)
    assert [file.status for file in told.files] == ["rejected", "rejected", "would_import"]
    key = begin(stages, requests)
    stages.decide(key)
    assert foretold(told) == imported(stages, key)


def test_in_a_database_without_the_schema_every_row_is_new(stages: Stages, make_database: Callable[[], str]) -> None:
    requests = [
        FileRequest(str(rows_of(stages, 1, 2, 2)), "default", "one"),
        FileRequest(str(rows_of(stages, 2, 3)), "default", "one"),
    ]
    with psycopg.connect(make_database(), autocommit=True) as connection:
        found = rehearse(connection, requests, ParseLimits(), terms(None), BatchSettings(), has_schema=False)
        [[schemas]] = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'helix'").fetchall()
    first, second = found.files
    assert (first.inserted, first.duplicate) == (2, 1)
    assert (second.inserted, second.unchanged, second.vanished) == (1, 1, 2)
    assert found.embedding.texts == 3
    assert schemas == 0
