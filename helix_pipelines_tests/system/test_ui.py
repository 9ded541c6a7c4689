"""The whole service as a person sees it: `helix up`, files dropped into the inbox, Dagster's UI in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from helix_pipelines.instance.embedded_postgres import EmbeddedPostgres
from helix_pipelines_tests.fakes.embedding_service import FakeEmbeddingService, running_fake

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

HELIX = str(Path(sys.executable).parent / "helix")
BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1700,1300",
]
FOUND_WITHIN = 60.0
"""Seconds from the drop of a file to its pairs being found, the product's promise on a machine that is not busy."""
PATIENCE = 180.0
"""Seconds that a test waits for something; a machine that runs other tests too is slow."""
RUNS = "{runsOrError{... on Runs{results{runId status stepKeysToExecute stats{... on RunStatsSnapshot{endTime}}}}}}"
STEPS = """query($id: ID!) {runOrError(runId: $id) {... on Run {stepStats {stepKey status}}}}"""

Found = TypeVar("Found")


class RunningHelix:
    """A running `helix up` with the fake embedding service behind it."""

    def __init__(self, environment: dict[str, str], fake: FakeEmbeddingService) -> None:
        self.environment = environment
        self.fake = fake
        up = self.helix("up", "--detach")
        self.ui: str = up["ui"]
        self.inbox = Path(up["inbox"])

    def helix(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        command = [HELIX, *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def graphql(self, query: str, **variables: str) -> Any:
        """What the UI would be told."""
        body = {"query": query, "variables": variables}
        return httpx.post(f"{self.ui}/graphql", json=body, timeout=30).json()["data"]

    def ended_run(self, but: set[str]) -> dict[str, Any] | None:
        """The latest run, unless it is one of `but` or has not ended."""
        runs = self.graphql(RUNS)["runsOrError"]["results"]
        return runs[0] if runs and runs[0]["runId"] not in but and runs[0]["status"] in {"SUCCESS", "FAILURE"} else None

    def finds(self, question: str) -> bool:
        """Whether the best hit of a search is this very question."""
        hits = self.helix("search", question)["hits"]
        return bool(hits) and hits[0]["question"] == question


def until(attempt: Callable[[], Found | None], what: str) -> Found:
    """The first result of `attempt` that is not empty; pages that are being built are looked at again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            found = attempt()
        except WebDriverException:
            found = None
        if found:
            return found
        time.sleep(0.5)
    pytest.fail(f"not within {PATIENCE:.0f} s: {what}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHelix]:
    home = tmp_path_factory.mktemp("home")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELIX_")}
    with running_fake() as fake:
        environment = {
            **inherited,
            "HELIX_HOME": str(home),
            "HELIX_EMBEDDING_URL": fake.url,
            "HELIX_EMBEDDING_MODEL": "fake",
            "HELIX_EMBEDDING_API_KEY": "key",
        }
        try:
            yield RunningHelix(environment, fake)
        finally:
            subprocess.run([HELIX, "down"], env=environment, check=True)
            shutil.rmtree(EmbeddedPostgres(home).folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    yield driver
    driver.quit()


def screenshot(browser: Chrome, name: str) -> None:
    """Keep what is seen in the folder HELIX_TEST_SCREENSHOTS, where that is set."""
    folder = os.environ.get("HELIX_TEST_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def look_at(browser: Chrome, url: str, *texts: str) -> str:
    """Open a page and wait until it shows all the texts; gives all of its text."""
    browser.get(url)

    def shown() -> str | None:
        page = browser.find_element(By.TAG_NAME, "body").text
        return page if all(text in page for text in texts) else None

    return until(shown, f"{url} shows {texts}")


def element(browser: Chrome, xpath: str) -> WebElement:
    return until(lambda: browser.find_element(By.XPATH, xpath), xpath)


def test_a_dropped_file_is_found_within_a_minute_and_its_run_is_green(service: RunningHelix, browser: Chrome) -> None:
    dropped = time.time()
    (service.inbox / "faq.csv").write_text(
        "question,answer\nWho are you?,Helix.\nWhat do you do?,Imports.\n,Nobody asked.\n"
    )
    run = until(lambda: service.ended_run(set()), "the run of the dropped file ends")
    assert run["status"] == "SUCCESS"
    assert service.finds("Who are you?")
    taken = run["stats"]["endTime"] - dropped
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    assert taken <= FOUND_WITHIN * max(1.0, load), f"{taken:.0f} s at a load of {load:.1f} a core"

    page = look_at(browser, f"{service.ui}/runs/{run['runId']}", "Success", "RUN_SUCCESS", "faq-csv")
    assert "Errored (0)" in page
    screenshot(browser, "run")
    look_at(browser, f"{service.ui}/asset-groups", "ingestion", "parsing", "enrichment", "embedding", "serving")
    screenshot(browser, "assets")
    page = look_at(browser, f"{service.ui}/assets/qa_pairs?view=events", "rows_read", "quarantined", "inserted")
    assert "faq.csv" in page
    screenshot(browser, "materialization")
    page = look_at(browser, f"{service.ui}/automation", "inbox_sensor", "batch_queue_sensor", "hourly_verification")
    screenshot(browser, "automation")


def test_a_run_that_was_refused_by_the_service_is_executed_again_from_failure(
    service: RunningHelix, browser: Chrome
) -> None:
    before = {run["runId"] for run in service.graphql(RUNS)["runsOrError"]["results"]}
    texts = service.fake.counters().texts
    service.fake.set_faults(status=401)
    (service.inbox / "more.csv").write_text("question,answer\nWhy not?,Because.\nHow come?,By chance.\n")
    failed = until(lambda: service.ended_run(before), "the run fails")
    assert failed["status"] == "FAILURE"
    page = look_at(browser, f"{service.ui}/runs/{failed['runId']}", "Failure", "EMBEDDING_UNAUTHORIZED", "Errored (1)")
    assert "HELIX_EMBEDDING_API_KEY" in page, "the page says what to do"
    screenshot(browser, "failure")

    service.fake.set_faults(status=None)
    element(browser, "//button[contains(., 'Re-execute')]/following::button[1]").click()
    element(browser, "//*[contains(@class, 'menu') or @role='menuitem']//*[contains(text(), 'From failure')]").click()
    again = until(lambda: service.ended_run({*before, failed["runId"]}), "the run from failure ends")
    assert again["status"] == "SUCCESS"
    steps = service.graphql(STEPS, id=again["runId"])["runOrError"]["stepStats"]
    assert {step["stepKey"] for step in steps} == {"embeddings", "knowledge_base"}
    counters = service.fake.counters()
    assert (counters.texts - texts, counters.texts_seen_twice) == (2, 0)
    assert service.finds("Why not?")
    look_at(browser, f"{service.ui}/runs/{again['runId']}", "Success", "Re-executions (1)")
    screenshot(browser, "from-failure")
