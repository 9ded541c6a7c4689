"""Results of checks, for `helix verify` and `helix db check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from helix_pipelines.cli.output import ExitCode, say, write_json


class Finding(Protocol):
    """What one check found: its name, whether all is well, and the figures."""

    @property
    def check(self) -> str:
        """Name of the check."""

    @property
    def ok(self) -> bool:
        """Whether it passed."""

    @property
    def detail(self) -> str:
        """What was counted or is wrong."""


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> ExitCode:
    """Print them all, failed ones in red, or as JSON with all their fields; FAILED if there is one."""
    passed = all(finding.ok for finding in findings)
    if as_json:
        write_json({"ok": passed, "findings": findings})
    else:
        for finding in findings:
            mark, colour = ("ok  ", None) if finding.ok else ("FAIL", "red")
            say(f"{mark} {finding.check}: {finding.detail}", colour=colour)
    return ExitCode.DONE if passed else ExitCode.FAILED
