"""A shim for setuptools; everything it can read from pyproject.toml stands there.

What it cannot: `dagster.yaml` and `workspace.yaml` live at the top level, where people who know Dagster look for them, and a
wheel carries copies of them in `helix_pipelines/instance/`. A checkout has no copies: there the originals are read.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

INSTANCE_FILES = ("dagster.yaml", "workspace.yaml")


class BuildWithInstanceFiles(build_py):
    """`build_py` that places Dagster's instance files into the package."""

    def run(self) -> None:
        """Build, then copy; an editable install keeps reading the originals."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "helix_pipelines" / "instance"
        for name in INSTANCE_FILES:
            self.copy_file(name, str(target / name))

    def get_source_files(self) -> list[str]:
        """Name the originals too, so that a source distribution holds what a wheel is built from."""
        named: list[str] = super().get_source_files()  # type: ignore[no-untyped-call]  # setuptools has no types for it
        return [*named, *INSTANCE_FILES]


setup(cmdclass={"build_py": BuildWithInstanceFiles})
