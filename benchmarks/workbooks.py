"""How much the workbook reader adds to bare python-calamine, and whether Parquet is read in memory that does not grow.

    python -m benchmarks.workbooks [--rows 100000]

The XLSX figures are the best of five reads of each kind, taken in turn in this process: `calamine` is its own loop to Python
values, `helix` the whole reader with the inflation check that precedes it. Parquet is read in a process of its own for each
size, so that its peak is not another's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
from python_calamine import CalamineWorkbook

from benchmarks.reading import LIMITS, pairs
from helix_pipelines.ingestion.sniff import sniff
from helix_pipelines.parsing.readers import make_reader
from helix_pipelines.parsing.request import ReadRequest

ROUNDS = 5
GROWTH = 10
"""The second Parquet file has this many times the rows of the first."""
WRITTEN_AT_A_TIME = 20_000


def main() -> None:
    """Write the files, read them, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        _compare_xlsx(Path(folder, "pairs.xlsx"), rows)
        print(f"{'parquet rows':>14}{'rows/s':>12}{'peak MB':>9}")
        for count in (rows, GROWTH * rows):
            path = Path(folder, f"pairs-{count}.parquet")
            _write_parquet(path, count)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, peak = pool.apply(_read_parquet, (path, count))
            print(f"{count:>14,}{count / seconds:>12,.0f}{peak:>9.0f}")


def _compare_xlsx(path: Path, rows: int) -> None:
    _write_xlsx(path, rows)
    assert _helix(path) == _bare(path) == rows, "both have to see the same rows"
    times = [(_seconds(partial(_bare, path)), _seconds(partial(_helix, path))) for _ in range(ROUNDS)]
    theirs, ours = (min(column) for column in zip(*times, strict=True))
    print(f"xlsx: calamine {rows / theirs:,.0f} rows/s, helix {rows / ours:,.0f} rows/s, {theirs / ours:.0%}")


def _bare(path: Path) -> int:
    return sum(1 for _ in CalamineWorkbook.from_path(path).get_sheet_by_index(0).iter_rows()) - 1


def _helix(path: Path) -> int:
    def open_file() -> BinaryIO:
        return path.open("rb")

    request = ReadRequest(open_file, sniff(open_file, path.name, LIMITS), LIMITS)
    return sum(len(chunk) for chunk in make_reader(request).chunks())


def _read_parquet(path: Path, rows: int) -> tuple[float, float]:
    """Seconds and the most megabytes that this process has held."""
    started = time.process_time()
    assert _helix(path) == rows
    seconds = time.process_time() - started
    # ru_maxrss would begin at what the parent held when it started this process.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return seconds, int(peak.split()[1]) / 1024


def _seconds(read: Callable[[], object]) -> float:
    started = time.process_time()
    read()
    return time.process_time() - started


def _write_xlsx(path: Path, rows: int) -> None:
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, ["question", "answer"])
        for at, pair in enumerate(pairs(rows), start=1):
            for column, text in enumerate(pair):
                sheet.write_string(at, column, text)


def _write_parquet(path: Path, rows: int) -> None:
    """One row group, the worst case for whoever reads group by group."""
    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    remaining, parts = pairs(rows), []
    while part := list(islice(remaining, WRITTEN_AT_A_TIME)):
        questions, answers = zip(*part, strict=True)
        parts.append(pa.table({"question": questions, "answer": answers}, schema=schema))
    pq.write_table(pa.concat_tables(parts), path, row_group_size=rows)


if __name__ == "__main__":
    main()
