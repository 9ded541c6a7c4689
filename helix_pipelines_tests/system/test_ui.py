"""The whole service as a person sees it: `helix up`, files dropped into the inbox, Dagster's UI in a real browser."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from helix_pipelines_tests.recovery.live_service import LiveService
from helix_pipelines_tests.system.dagster_pages import ENDED, DagsterPages, until
from helix_pipelines_tests.system.stopped_batches import command

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FOUND_WITHIN = 60.0
"""Seconds from the drop of a file to its pairs being found, the product's promise on a machine that is not busy."""


def ended_run(pages: DagsterPages, but: set[str]) -> dict[str, Any] | None:
    """The latest run, unless it is one of `but` or has not ended."""
    runs = pages.runs()
    return runs[0] if runs and runs[0]["runId"] not in but and runs[0]["status"] in ENDED else None


def finds(live: LiveService, question: str) -> bool:
    """Whether the best hit of a search is this very question."""
    hits = command(live, "search", question)["hits"]
    return bool(hits) and hits[0]["question"] == question


def test_a_dropped_file_is_found_within_a_minute_and_its_run_is_green(live: LiveService, pages: DagsterPages) -> None:
    before = {run["runId"] for run in pages.runs()}
    dropped = time.time()
    (live.settings.inbox_dir / "faq.csv").write_text(
        "question,answer\nWho are you?,Helix.\nWhat do you do?,Imports.\n,Nobody asked.\n"
    )
    run = until(lambda: ended_run(pages, before), "the run of the dropped file ends")
    assert run["status"] == "SUCCESS"
    assert finds(live, "Who are you?")
    taken = run["stats"]["endTime"] - dropped
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    assert taken <= FOUND_WITHIN * max(1.0, load), f"{taken:.0f} s at a load of {load:.1f} a core"

    page = pages.look_at(f"runs/{run['runId']}", "Success", "RUN_SUCCESS", "faq-csv")
    assert "Errored (0)" in page
    pages.screenshot("run")
    pages.look_at("asset-groups", "ingestion", "parsing", "enrichment", "embedding", "serving")
    pages.screenshot("assets")
    page = pages.look_at("assets/qa_pairs?view=events", "rows_read", "quarantined", "inserted")
    assert "faq.csv" in page
    pages.screenshot("materialization")
    page = pages.look_at("automation", "inbox_sensor", "batch_queue_sensor", "hourly_verification")
    pages.screenshot("automation")
