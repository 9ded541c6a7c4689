"""What each kill of a campaign came to: a line of JSON each, so that a campaign can be stopped and go on, and a table of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from helix_pipelines_tests.fakes.accounting import CLIENT_LEFT, Arrivals

STILL_ARRIVING = 0.25
"""Seconds after a kill in which a request may arrive that its sender had sent before."""
UNSAVED = 0.5
"""Seconds before a kill in which an answer may have left that was not stored any more: answers are stored together."""
RESUMED_WITHIN = 60.0
"""Seconds in which work has to go on once the service is back."""


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One kill. Seconds to `resumed` are counted from when the service was back: from the kill itself where it never was away.

    `in_flight` are texts that the embedding service was working on at the kill, `unsaved` those that it had just answered, and
    `twice` those that it answered twice because of it.
    """

    seed: int
    number: int
    victim: str
    phase: str
    resumed: float
    since_kill: float
    """Seconds from the kill until every batch that was under way had made progress."""
    twice: int
    in_flight: int
    unsaved: int
    load: float
    """Processes that wanted a processor, for each there is, in the last minute: what seconds have to be seen with."""
    drained: float
    """Seconds from the kill until everything was imported."""


def texts_in_flight(arrivals: Arrivals, moment: float) -> int:
    """Texts of requests that had been sent and not answered at a moment of the monotonic clock."""
    still_arrived = arrivals.between(moment, moment + STILL_ARRIVING).with_status(CLIENT_LEFT)
    columns = zip(arrivals.at, arrivals.ended, arrivals.texts, strict=True)
    flying = sum(texts for at, ended, texts in columns if at < moment and (ended is None or ended >= moment))
    return flying + sum(still_arrived.texts)


def texts_unsaved(arrivals: Arrivals, moment: float) -> int:
    """Texts that had been answered so shortly before a moment that the answer may not have been stored."""
    columns = zip(arrivals.ended, arrivals.texts, strict=True)
    return sum(texts for ended, texts in columns if ended is not None and moment - UNSAVED <= ended < moment)


def append(file: Path, kills: Iterable[Kill]) -> None:
    """Add lines to a campaign's results."""
    with file.open("ab") as lines:
        lines.writelines(msgspec.json.encode(kill) + b"\n" for kill in kills)


def read(file: Path, seed: int) -> list[Kill]:
    """The kills of a campaign so far."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [kill for line in lines if (kill := msgspec.json.decode(line, type=Kill)).seed == seed]


def table(kills: Sequence[Kill]) -> str:
    """Figures by victim, and of all."""
    heading = f"{'victim':<12} {'kills':>5} {'resumed s: median':>17} {'longest':>8} {'texts in flight':>15}"
    heading += f" {'unsaved':>8} {'twice':>6}"
    victims = sorted({kill.victim for kill in kills})
    lines = [_line(victim, [kill for kill in kills if kill.victim == victim]) for victim in victims]
    phases = {phase: sum(kill.phase == phase for kill in kills) for phase in sorted({kill.phase for kill in kills})}
    counted = ", ".join(f"{phase} {number}" for phase, number in phases.items())
    return "\n".join([heading, *lines, _line("all", kills), f"phases: {counted}"])


def _line(name: str, kills: Sequence[Kill]) -> str:
    resumed = sorted(kill.resumed for kill in kills)
    texts = [sum(getattr(kill, name) for kill in kills) for name in ("in_flight", "unsaved", "twice")]
    median, longest = resumed[len(resumed) // 2], resumed[-1]
    return f"{name:<12} {len(kills):>5} {median:>17.1f} {longest:>8.1f} {texts[0]:>15,} {texts[1]:>8,} {texts[2]:>6,}"
