"""What the repository promises about itself: README, lock file, pins, package, sizes and borders."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from helix_pipelines.cli.app import COMMANDS
from helix_pipelines.cli.settings import describe, markdown_table
from helix_pipelines.parsing.codes import FILE_CODES, RowCode
from helix_pipelines.parsing.notes import NoteCode

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "helix_pipelines"
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

MODULE_LINES = 350
FUNCTION_LINES = 60
LONGER = {"storage/tables.py"}
"""Where splitting would hide the story: all tables on one page."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def locked() -> dict[str, str]:
    """Package -> locked version."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", LOCK, flags=re.MULTILINE))


def declared() -> Iterator[str]:
    project = tomllib.loads(PYPROJECT)["project"]
    yield from project["dependencies"]
    yield from project["optional-dependencies"]["dev"]


def test_the_settings_table_of_the_readme_is_what_the_command_prints() -> None:
    table = README.partition("<!-- settings:begin -->\n")[2].partition("<!-- settings:end -->")[0]
    assert table.strip() == markdown_table(describe(None)), "Paste the output of `helix settings --markdown`."


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"(?:^|`)helix ([a-z-]+)", README, flags=re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named
    assert named <= targets


def test_every_error_code_of_the_readme_is_raised_somewhere() -> None:
    source = "\n".join(module.read_text(encoding="utf-8") for module in modules())
    codes = re.findall(
        r"^\| `([A-Z]+_[A-Z_]+)` \| ", README.partition("## When something is wrong")[2], flags=re.MULTILINE
    )
    assert codes
    assert [code for code in codes if f'"{code}"' not in source] == []


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("## Notes of an import", {code: code.meaning for code in NoteCode}),
        ("## Why a row is quarantined", {code: code.hint for code in RowCode}),
        ("## Why a file is rejected", FILE_CODES),
    ],
)
def test_the_codes_of_the_documentation_are_those_of_the_code(heading: str, expected: dict[str, str]) -> None:
    section = FORMATS.partition(heading + "\n")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", section, flags=re.MULTILINE)) == dict(expected)


def test_a_file_is_rejected_with_a_code_of_the_closed_list() -> None:
    rooms = [PACKAGE / room for room in ("ingestion", "parsing", "enrichment")]
    used = {code for room in rooms for code in rejection_codes(room)}
    assert used <= {*FILE_CODES, *RowCode}
    assert set(FILE_CODES) <= {text for room in rooms for text in code_constants(room)}


def rejection_codes(room: Path) -> Iterator[str]:
    """The codes that are written where a file is rejected on its way in."""
    trees = (ast.parse(module.read_text(encoding="utf-8")) for module in room.rglob("*.py"))
    for node in (node for tree in trees for node in ast.walk(tree)):
        is_rejection = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FileRejectedError"
        if is_rejection and isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def code_constants(room: Path) -> Iterator[str]:
    """Texts that look like codes, but for the list itself."""
    for module in room.rglob("*.py"):
        if module.name != "codes.py":
            yield from re.findall(r'"([A-Z]{2,}(?:_[A-Z0-9]+)+)"', module.read_text(encoding="utf-8"))
            yield from re.findall(r"RowCode\.([A-Z_]+)", module.read_text(encoding="utf-8"))


def test_every_dependency_says_why_it_is_there() -> None:
    lines = [line for line in PYPROJECT.splitlines() if re.match(r'^    "[a-z0-9-]+(\[\w+\])?[~>=]=', line)]
    assert len(lines) == len(list(declared()))
    assert [line for line in lines if not re.search(r",\s+# \S", line)] == []


def test_the_lock_file_fulfils_every_declared_range() -> None:
    versions = locked()
    for line in declared():
        requirement = Requirement(line)
        assert requirement.specifier.contains(versions[requirement.name.lower()]), f"{line}: run `make lock`"


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_file_names_no_place_to_download_from() -> None:
    assert [
        line for line in LOCK.splitlines() if re.search(r"://|--(extra-)?index|--find-links|--trusted|\s/\w", line)
    ] == []


@pytest.mark.parametrize("heavy", ["torch", "tensorflow", "jax"])
def test_no_deep_learning_framework_comes_along(heavy: str) -> None:
    assert heavy not in locked()


def test_modules_and_functions_stay_small() -> None:
    large = []
    for module in modules():
        text = module.read_text(encoding="utf-8")
        name = str(module.relative_to(PACKAGE))
        if text.count("\n") > MODULE_LINES and name not in LONGER:
            large.append(name)
        large += [
            f"{name}: {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES
        ]
    assert large == []


def test_private_parts_of_dagster_are_used_in_one_place_only() -> None:
    """The linter keeps dagster out of the stages; this keeps `dagster._core` out of what may import dagster."""
    private = re.compile(r"^\s*(?:from|import) dagster\w*(?:\.\w+)*\._", flags=re.MULTILINE)
    users = [module for module in modules() if private.search(module.read_text(encoding="utf-8"))]
    assert [str(user) for user in users if PACKAGE / "instance" not in user.parents] == []


def test_a_wheel_holds_everything_that_is_read_at_run_time(tmp_path: Path) -> None:
    """Dagster's files come from the top level; SQL, templates and migrations from the package."""
    for name in ("setup.py", "pyproject.toml", "README.md", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in {".py", ".sql", ".mako", ".typed"}
    }
    needed |= {"helix_pipelines/instance/dagster.yaml", "helix_pipelines/instance/workspace.yaml"}
    assert needed - inside == set()
