from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from helix_pipelines.cli.progress import ProgressDisplay


def pulse(phase: str | None, *, read: int = 0, undecided: int = 0, texts: int | None = None) -> dict[str, Any]:
    return {"phase": phase, "rows_read": read, "rows_pending": undecided, "texts_pending": texts}


def shown(*pulses: dict[str, Any]) -> str:
    screen = io.StringIO()
    with ProgressDisplay(Console(file=screen, force_terminal=True, width=120, color_system=None)) as display:
        for each in pulses:
            display.show(each)
    return screen.getvalue()


def test_before_the_first_phase_the_run_is_starting() -> None:
    assert "starting the run" in shown(pulse(None))


def test_rows_are_counted_while_their_number_is_not_known() -> None:
    assert "1,500 rows" in shown(pulse("parsed_rows", read=1500))


def test_texts_are_counted_from_the_most_that_were_pending() -> None:
    assert "150/200 texts" in shown(pulse("embeddings", texts=200), pulse("embeddings", texts=50))


def test_a_phase_that_is_over_has_a_full_bar() -> None:
    screen = shown(pulse("qa_pairs", read=10, undecided=4), pulse("embeddings", texts=2))
    assert "6/10 rows" in screen
    assert "matching pairs" in screen
    assert "embedding texts" in screen


def test_a_phase_of_another_version_is_shown_by_its_name() -> None:
    assert "future_phase" in shown(pulse("future_phase", read=1))
