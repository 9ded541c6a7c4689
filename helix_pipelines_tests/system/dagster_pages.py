"""Dagster's UI in a real browser: what a person clicks there, and what is seen then."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

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
PATIENCE = 180.0
"""Seconds that a test waits for something; a machine that runs other tests too is slow."""
IMPORT_JOB = "locations/helix_pipelines/jobs/import_batch_job"
RUNS = """query($tags: [ExecutionTag!]) {runsOrError(filter: {tags: $tags}) {... on Runs {results {
    runId status parentRunId tags {key value} stepStats {stepKey status} stats {... on RunStatsSnapshot {endTime}}}}}}"""
RUN = """query($id: ID!) {runOrError(runId: $id) {... on Run {status tags {key value}}}}"""
TICKS = """query($name: String!) {sensorOrError(sensorSelector: {
    repositoryName: "__repository__", repositoryLocationName: "helix_pipelines", sensorName: $name}) {
    ... on Sensor {sensorState {ticks(limit: 5) {timestamp status endTimestamp}}}}}"""
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

Found = TypeVar("Found")


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
        time.sleep(0.3)
    pytest.fail(f"not within {PATIENCE:.0f} s: {what}")


@contextmanager
def opened_browser(profile: Path) -> Iterator[Chrome]:
    """Debian's Chromium with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


class DagsterPages:
    """The pages of one service. `browser` is where they are looked at, `url` where they are."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def graphql(self, query: str, **variables: Any) -> Any:
        """What the UI would be told."""
        body = {"query": query, "variables": variables}
        return httpx.post(f"{self.url}/graphql", json=body, timeout=60).json()["data"]

    def runs(self, partition: str | None = None) -> list[dict[str, Any]]:
        """The runs, of one partition or all, the latest first."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        found: list[dict[str, Any]] = self.graphql(RUNS, tags=tags)["runsOrError"]["results"]
        return found

    def run_status(self, run_id: str) -> str:
        """A run's status in Dagster's words."""
        return str(self.graphql(RUN, id=run_id)["runOrError"]["status"])

    def has_ticked(self, sensor: str, since: float, times: int) -> bool:
        """Whether a sensor has begun and ended so many ticks since then, in seconds since 1970."""
        ticks = self.graphql(TICKS, name=sensor)["sensorOrError"]["sensorState"]["ticks"]
        ended = [tick for tick in ticks if tick["timestamp"] > since and tick["status"] in {"SUCCESS", "SKIPPED"}]
        return len(ended) >= times

    def look_at(self, path: str, *texts: str) -> str:
        """Open a page and wait until it shows all the texts; gives all of its text."""
        self.browser.get(f"{self.url}/{path}")

        def shown() -> str | None:
            page = self.browser.find_element(By.TAG_NAME, "body").text
            return page if all(text in page for text in texts) else None

        return until(shown, f"{path} shows {texts}")

    def element(self, xpath: str) -> WebElement:
        """The first such element, once it is there."""
        return until(lambda: self.browser.find_element(By.XPATH, xpath), xpath)

    def click(self, xpath: str) -> None:
        """Click on an element as soon as that is possible: buttons move and are disabled while a page is being built."""

        def clicked() -> bool:
            self.browser.find_element(By.XPATH, xpath).click()
            return True

        until(clicked, f"{xpath} can be clicked")

    def button(self, text: str) -> None:
        """Click on a button with a text."""
        self.click(f"//button[contains(., '{text}') and not(@disabled)]")

    def screenshot(self, name: str) -> None:
        """Keep what is seen in the folder HELIX_TEST_SCREENSHOTS, where that is set."""
        folder = os.environ.get("HELIX_TEST_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    def terminate(self, run_id: str) -> None:
        """Terminate a run on its page."""
        self.look_at(f"runs/{run_id}", "Terminate")
        self.button("Terminate")
        self.button("Terminate 1 run")
        until(lambda: self.run_status(run_id) in {"CANCELING", "CANCELED"}, f"run {run_id} is being terminated")

    def re_execute_from_failure(self, run_id: str) -> None:
        """Execute a failed run again from where it failed, on its page, which then shows the new run."""
        self.look_at(f"runs/{run_id}", "Re-execute")
        self.click("//button[contains(., 'Re-execute')]/following::button[1]")
        self.click("//*[contains(@class, 'menu') or @role='menuitem']//*[contains(text(), 'From failure')]")
        self._left(run_id)

    def materialize(self, partition: str) -> None:
        """Launch the import job for a partition that is chosen from the list of all."""
        before = len(self.runs(partition))
        self.look_at(IMPORT_JOB, "Materialize all")
        self.button("Materialize all")
        self.click("//*[contains(text(), 'Select a partition')]")
        self.click(f"//*[contains(@class, 'menu') or @role='menuitem']//*[contains(text(), '{partition}')]")
        self.click("//*[contains(text(), 'Partition selection')]")  # closes the list
        self.button("Launch 1 run")
        until(lambda: len(self.runs(partition)) > before, f"a run of {partition} is launched")

    def launch(self, job: str, config: str) -> None:
        """Launch a job from its launchpad, with a configuration in YAML; the run's page is shown then."""
        self.look_at(f"locations/helix_pipelines/jobs/{job}/playground", "Launch Run")
        self.element("//*[contains(@class, 'CodeMirror')]")
        write = "document.querySelector('.CodeMirror').CodeMirror.setValue(arguments[0])"
        self.browser.execute_script(write, config)
        self.button("Launch Run")
        until(lambda: "/runs/" in self.browser.current_url, f"a run of {job} is shown")

    def _left(self, run_id: str) -> None:
        until(lambda: run_id not in self.browser.current_url, f"the page of run {run_id} is left for that of the next")
