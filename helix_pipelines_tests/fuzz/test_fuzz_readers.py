"""Every reader under coverage-guided fuzzing, for as long as HELIX_FUZZ_SECONDS says: minutes each, so on demand.

The corpora are kept in HELIX_FUZZ_CORPUS, where it is set, so that the next campaign goes on where this one ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helix_pipelines.parsing.readers import READERS

ATHERIS = "atheris==3.0.0"
INSTALLED_WITHIN = 300
SECONDS = int(os.environ.get("HELIX_FUZZ_SECONDS", "180"))
INTRICATE = frozenset({"xlsx", "zip", "yaml", "json"})
"""Formats with the most ways to go wrong: they get more than three times as long."""
CHECKOUT = Path(__file__).parents[2]
MEMORY_MB = 2048
SECONDS_AN_INPUT = 20

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def atheris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fuzzer, which is no part of the locked environment: it is large and only this needs it."""
    folder = tmp_path_factory.mktemp("atheris")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary",
        ":all:",
        "--target",
        str(folder),
        ATHERIS,
    ]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALLED_WITHIN)
    if installed.returncode:
        pytest.skip(f"{ATHERIS} cannot be installed: {installed.stderr.strip()[-500:]}")
    return folder


@pytest.mark.parametrize("name", sorted([*READERS, "zip"]))
def test_no_input_makes_a_reader_break_its_promises(
    name: str, atheris: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    corpus = Path(os.environ.get("HELIX_FUZZ_CORPUS", tmp_path)) / name
    seconds = SECONDS * 10 // 3 if name in INTRICATE else SECONDS
    command = [sys.executable, "-m", "helix_pipelines_tests.fuzz.fuzz_readers", name, str(corpus)]
    limits = [f"-max_total_time={seconds}", f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MEMORY_MB}"]
    environment = os.environ | {"PYTHONPATH": f"{atheris}{os.pathsep}{CHECKOUT}"}
    ended = subprocess.run(
        [*command, *limits], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    lines = ended.stderr.strip().splitlines()
    record_property("inputs", next((line for line in reversed(lines) if line.startswith("Done")), ""))
    assert ended.returncode == 0, "\n".join(lines[-40:])
