"""What a person sees while an import runs: one bar a phase, with rows or texts, pace and time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

TITLES = {
    "source_files": ("taking in files", "rows"),
    "parsed_rows": ("reading rows", "rows"),
    "qa_pairs": ("matching pairs", "rows"),
    "embeddings": ("embedding texts", "texts"),
    "knowledge_base": ("publishing", "rows"),
}
"""Phase -> what it does in words, and what is counted."""
REFRESHES_PER_SECOND = 4


class ProgressDisplay:
    """Bars on stderr; use it as a context manager and `show` it a pulse now and then."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            refresh_per_second=REFRESHES_PER_SECOND,
        )
        self._bars: dict[str, TaskID] = {}
        self._phase: str | None = None
        self._most_pending = 0

    def __enter__(self) -> Self:
        self._progress.start()
        self._starting = self._progress.add_task("starting the run", total=None, counts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, pulse: dict[str, Any]) -> None:
        """Bring the bars up to date; a phase that has ended keeps its bar, filled."""
        phase = pulse["phase"]
        if phase != self._phase:
            self._finish(self._phase)
            self._phase, self._most_pending = phase, 0
        if phase is None:
            return
        done, total = self._counts(pulse)
        unit = TITLES.get(phase, (phase, "rows"))[1]
        counts = f"{done:,} {unit}" if total is None else f"{done:,}/{total:,} {unit}"
        self._progress.update(self._bar(phase), completed=done, total=total, counts=counts)

    def _bar(self, phase: str) -> TaskID:
        self._progress.update(self._starting, visible=False)
        if phase not in self._bars:
            title = TITLES.get(phase, (phase, "rows"))[0]
            self._bars[phase] = self._progress.add_task(title, total=None, counts="")
        return self._bars[phase]

    def _finish(self, phase: str | None) -> None:
        """Fill the bar of a phase that is over; the last pulse may have come before its last row."""
        if phase in self._bars:
            bar = self._bars[phase]
            task = next(task for task in self._progress.tasks if task.id == bar)
            total = task.total or max(task.completed, 1)
            self._progress.update(bar, completed=total, total=total)

    def _counts(self, pulse: dict[str, Any]) -> tuple[int, int | None]:
        """Units done and in all; how many rows a file has is not known before its end."""
        if pulse["texts_pending"] is not None:
            self._most_pending = max(self._most_pending, pulse["texts_pending"])
            return self._most_pending - pulse["texts_pending"], self._most_pending
        if pulse["phase"] == "qa_pairs":
            return pulse["rows_read"] - pulse["rows_pending"], pulse["rows_read"]
        return pulse["rows_read"], None
