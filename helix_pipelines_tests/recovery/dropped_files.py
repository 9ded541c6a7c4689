"""Files that people drop into an inbox, made from a seed, and what a knowledge base has to serve once all are imported.

Every file is a source of its own; now and then a second version of an earlier one arrives. What becomes of each row follows from
how it was made, so the result of any number of imports, killed or not, is known to the row.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import xlsxwriter

COLLECTIONS = ("alpha", "beta", "gamma", "delta")
"""One file of a round each: rows that all of them share become a pair in each collection, and one text to embed."""
SHARED_ROWS = 10
BAD_SHARE = 0.02
"""Rows without an answer; they are quarantined."""
DUPLICATE_SHARE = 0.02
CHANGED_SHARE, VANISHED_SHARE, NEW_SHARE = 0.2, 0.05, 0.1
"""Of a second version, in terms of the first."""
SECOND_VERSION = 0.25
"""Probability that a collection gets a second version of an earlier file instead of a new one."""

Row = tuple[str, str]
Served = tuple[str, str, str]
"""Collection, question, answer."""


@dataclass(frozen=True)
class Drop:
    """A file to be dropped: its rows as they stand in it, and the outcomes that its import has to report."""

    path: str
    """Below the inbox; the first folder is the collection, and the whole names the source."""
    rows: tuple[Row, ...]
    outcomes: dict[str, int]

    @property
    def collection(self) -> str:
        return self.path.partition("/")[0]

    def write(self, inbox: Path) -> None:
        """Put it into the inbox in one step, as careful people do."""
        target = inbox / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}")
        draft.write_bytes(WRITERS[target.suffix](self.rows))
        draft.replace(target)


@dataclass
class DroppedFiles:
    """All that was dropped into an inbox so far, and what has to come of it. Files have `least` to `most` rows, before others."""

    seed: int
    least: int = 200
    most: int = 1500
    served: set[Served] = field(default_factory=set)
    latest: dict[str, Drop] = field(default_factory=dict)
    """The last version of each file, by path."""
    _replaced: set[Served] = field(default_factory=set)
    """Pairs that are not served any more."""
    _fresh: set[str] = field(default_factory=set)
    """Paths of the last round. They are not written over: who replaces a file before it is read has handed over one version."""
    _doubled: set[tuple[str, Row]] = field(default_factory=set)
    """Path and row of rows that were twice in some version: no later version changes them, as nobody could say which is meant."""

    def round(self, number: int) -> list[Drop]:
        """The files of a round, one a collection; what they leave behind counts as dropped from now on."""
        chance = random.Random(f"{self.seed}/{number}")
        shared = [(f"What do all know of {number}.{at}?", f"All of {self.seed} know it.") for at in range(SHARED_ROWS)]
        drops = [self._file(chance, number, collection, shared) for collection in COLLECTIONS]
        self._fresh = {drop.path for drop in drops}
        self.latest |= {drop.path: drop for drop in drops}
        return drops

    def texts(self) -> int:
        """How many different texts have been dropped: each of them has to be embedded, once."""
        return len({(question, answer) for _, question, answer in self.served | self._replaced})

    def _file(self, chance: random.Random, number: int, collection: str, shared: Sequence[Row]) -> Drop:
        earlier = [
            drop for drop in self.latest.values() if drop.collection == collection and drop.path not in self._fresh
        ]
        if earlier and chance.random() < SECOND_VERSION:
            return self._second(chance, number, chance.choice(earlier))
        suffix = chance.choice(sorted(WRITERS))
        rows = _rows(chance, f"{collection} {number}", chance.randint(self.least, self.most))
        return self._spoilt(chance, Drop(f"{collection}/faq-{number}{suffix}", (*shared, *rows), {}))

    def _spoilt(self, chance: random.Random, drop: Drop) -> Drop:
        """A new file, with some rows that are bad and some that are there twice."""
        can_be_bad = not drop.path.endswith(".md")  # a heading without a text is a title there
        bad = round(len(drop.rows) * BAD_SHARE) if can_be_bad else 0
        twice = round(len(drop.rows) * DUPLICATE_SHARE) if can_be_bad else 0
        again = chance.sample(drop.rows, twice)
        self._doubled |= {(drop.path, row) for row in again}
        rows = [*drop.rows, *((f"What of the bad {drop.path} {at}?", "") for at in range(bad)), *again]
        chance.shuffle(rows)
        self.served |= {(drop.collection, *row) for row in drop.rows}
        outcomes = {"inserted": len(drop.rows), "quarantined": bad, "duplicate": twice}
        return replace(drop, rows=tuple(rows), outcomes=outcomes)

    def _second(self, chance: random.Random, number: int, first: Drop) -> Drop:
        """Another version of a file: most rows as they were, some changed, new or gone. What is gone stays served."""
        known = sorted({row for row in first.rows if row[1]})
        chance.shuffle(known)
        kept = known[round(len(known) * VANISHED_SHARE) :]
        changing = {row for row in kept[: round(len(kept) * CHANGED_SHARE)] if (first.path, row) not in self._doubled}
        corrected = {row: (row[0], f"{row[1]} Corrected in {number}.") for row in changing}
        new = _rows(chance, f"{first.path} {number}", round(len(known) * NEW_SHARE))
        rows = [corrected.get(row, row) for row in kept] + new
        chance.shuffle(rows)
        gone = {(first.collection, *row) for row in changing}
        self._replaced |= gone
        self.served = (self.served - gone) | {(first.collection, *row) for row in rows}
        outcomes = {"inserted": len(new), "updated": len(changing), "unchanged": len(kept) - len(changing)}
        return Drop(first.path, tuple(rows), outcomes)


def _rows(chance: random.Random, name: str, number: int) -> list[Row]:
    return [(f"What is {name} row {at}?", f"It is {chance.randrange(10**9)} of {name}.") for at in range(number)]


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("question", "answer"), *rows])
    return text.getvalue().encode()


def _workbook(rows: Sequence[Row]) -> bytes:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet("FAQ")
        for line, row in enumerate([("Question", "Answer"), *rows]):
            sheet.write_row(line, 0, row)
    return target.getvalue()


def _objects(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question, answer in rows]


def _json(rows: Sequence[Row]) -> bytes:
    return json.dumps(_objects(rows)).encode()


def _json_lines(rows: Sequence[Row]) -> bytes:
    return "\n".join(map(json.dumps, _objects(rows))).encode()


def _markdown(rows: Sequence[Row]) -> bytes:
    return ("# FAQ\n\n" + "".join(f"## {question}\n\n{answer}\n\n" for question, answer in rows)).encode()


WRITERS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".md": _markdown,
    ".xlsx": _workbook,
}
"""The bytes of a file by the end of its name."""
