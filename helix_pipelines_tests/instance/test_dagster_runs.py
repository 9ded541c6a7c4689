from __future__ import annotations

import io
from pathlib import Path

import pytest

from helix_pipelines.instance.dagster_runs import RunHandle, RunStarter
from helix_pipelines.instance.run_orders import DatabaseOrder, RunOrder, give, receive
from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings

ORDER = RunOrder("20260101-000000-faq-00000000", "00000000-0000-4000-8000-000000000001", "import_batch_job")


def spare(starter: RunStarter) -> RunHandle:
    """The process that waits for a run."""
    assert starter._spare is not None
    return starter._spare


def test_orders_are_received_one_by_one_as_they_were_given() -> None:
    stream = io.BytesIO()
    give(stream, DatabaseOrder("postgresql+psycopg2://helix@127.0.0.1/helix"))
    give(stream, ORDER)
    stream.seek(0)
    assert receive(stream, DatabaseOrder) == DatabaseOrder("postgresql+psycopg2://helix@127.0.0.1/helix")
    assert receive(stream, RunOrder) == ORDER
    assert receive(stream, RunOrder) is None


def test_an_order_that_was_cut_off_by_a_crash_is_none() -> None:
    stream = io.BytesIO()
    give(stream, ORDER)
    assert receive(io.BytesIO(stream.getvalue()[:-1]), RunOrder) is None


def test_a_process_without_a_run_ends_with_its_command_and_leaves_no_log(tmp_path: Path) -> None:
    with RunStarter(Settings(home=tmp_path / "home")) as starter:
        waiting = spare(starter)
        assert waiting.poll() is None
    assert waiting.process.returncode is not None
    assert not waiting.log.exists()


def test_a_process_whose_command_has_died_ends_by_itself(tmp_path: Path) -> None:
    starter = RunStarter(Settings(home=tmp_path / "home"))
    starter.__enter__()
    waiting = spare(starter)
    assert waiting.process.stdin is not None
    waiting.process.stdin.close()  # as the kernel does for a dead process
    assert waiting.wait(60) == 0


def test_a_database_that_dagster_cannot_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL"), RunStarter(Settings(home=tmp_path / "home")) as starter:
        starter.use_database("mysql://localhost/helix")
