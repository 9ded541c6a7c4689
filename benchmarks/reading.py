"""How much the readers add to the bare libraries, on the same rows in the same process.

    python -m benchmarks.reading [--rows 100000] [--csv FILE]

Speeds are the best of seven reads of their kind, taken in turn; the share is the median of the seven side by side. `sniff`
is the whole-file detection that precedes the first read, `skip` the way back to the last row on resuming. Generated texts are
in several scripts, a fifth of the answers over two lines; `wide` is a CSV file with seven columns more. `--csv` takes a real
file (two columns and more, UTF-8) instead.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import BinaryIO

from helix_pipelines.ingestion.sniff import Sniffed, sniff
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.readers import make_reader
from helix_pipelines.parsing.request import ReadRequest

ROUNDS = 7
LIMITS = ParseLimits()
WORDS = (
    "how",
    "do",
    "I",
    "reset",
    "my",
    "card",
    "残高",
    "を",
    "確認",
    "вопрос",
    "straße",
    "naïve",
    "refund,",
    '"limit"',
    "🙂",
)


def main() -> None:
    """Write the files, read them in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    print(f"{'format':<8}{'bare rows/s':>14}{'helix rows/s':>14}{'share':>8}{'sniff s':>10}{'skip s':>9}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        if options.csv:
            _compare("csv", options.csv, _bare_csv)
            return
        for name, (write, bare) in FORMATS.items():
            path = Path(folder, f"pairs.{name}")
            write(path, options.rows)
            _compare(name, path, bare)


def _compare(name: str, path: Path, bare: Callable[[Path], int]) -> None:
    def open_file() -> BinaryIO:
        return path.open("rb")

    sniffed = sniff(open_file, path.name, LIMITS)
    rows = _helix(open_file, sniffed, 0)
    assert rows == bare(path), "both have to see the same rows"
    times = [
        (
            _seconds(lambda: bare(path)),
            _seconds(lambda: _helix(open_file, sniffed, 0)),
            _seconds(lambda: sniff(open_file, path.name, LIMITS)),
            _seconds(lambda: _helix(open_file, sniffed, rows)),
        )
        for _ in range(ROUNDS)
    ]
    theirs, ours, sniffing, skipping = (min(column) for column in zip(*times, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    share = median(bare_seconds / helix_seconds for bare_seconds, helix_seconds, _, _ in times)
    speeds = f"{rows / theirs:>14,.0f}{rows / ours:>14,.0f}{share:>8.0%}"
    print(f"{name:<8}{speeds}{sniffing:>10.2f}{skipping:>9.2f}{peak:>9.0f}")


def _helix(open_file: Callable[[], BinaryIO], sniffed: Sniffed, skip: int) -> int:
    return sum(map(len, make_reader(ReadRequest(open_file, sniffed, LIMITS)).chunks(skip=skip)))


def _seconds(read: Callable[[], object]) -> float:
    started = time.process_time()
    read()
    return time.process_time() - started


def pairs(rows: int) -> Iterator[tuple[str, str]]:
    """Questions and answers, the same ones every time."""
    dice = random.Random(7)
    for number in range(rows):
        gap = "\n" if dice.random() < 0.2 else " "
        question = f"{' '.join(dice.choices(WORDS, k=9))} {number}?"
        yield question, " ".join(dice.choices(WORDS, k=6)) + gap + " ".join(dice.choices(WORDS, k=4))


def _write_csv(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows(pairs(rows))


def _write_wide(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "category", "url", "language", "author", "updated", "note"])
        for at, (question, answer) in enumerate(pairs(rows)):
            category, author = ("cards", "loans", "")[at % 3], ("Ana", "")[at % 2]
            link, day = f"https://example.org/faq/{at}", f"2024-05-{at % 28 + 1:02}"
            writer.writerow([at, question, answer, category, link, "en", author, day, ""])


def _write_jsonl(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question, answer in pairs(rows):
            file.write(json.dumps({"question": question, "answer": answer}, ensure_ascii=False) + "\n")


def _write_json(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(
            [{"question": question, "answer": answer} for question, answer in pairs(rows)], file, ensure_ascii=False
        )


def _bare_csv(path: Path) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _bare_jsonl(path: Path) -> int:
    with path.open(newline="\n", encoding="utf-8") as file:
        return sum(1 for line in file if json.loads(line))


def _bare_json(path: Path) -> int:
    return len(json.loads(path.read_bytes()))


FORMATS = {
    "csv": (_write_csv, _bare_csv),
    "wide": (_write_wide, _bare_csv),
    "jsonl": (_write_jsonl, _bare_jsonl),
    "json": (_write_json, _bare_json),
}

if __name__ == "__main__":
    main()
