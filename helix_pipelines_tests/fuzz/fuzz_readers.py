"""Coverage-guided fuzzing of one reader by atheris: whatever the bytes, there are rows, refusals, and nothing else.

    python -m helix_pipelines_tests.fuzz.fuzz_readers FORMAT CORPUS [libFuzzer options, such as -max_total_time=180]

CORPUS is a folder; it is filled with seeds first and keeps what led to new code. An input is read twice: as what `sniff` finds
in it, and as FORMAT whatever it is. Both have to keep the reader's promises. A crash, a hang (-timeout) and a runaway
(-rss_limit_mb) end the process; the input is left in the current folder.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["helix_pipelines.parsing", "helix_pipelines.ingestion", "yaml", "markdown_it"]
):
    from helix_pipelines.ingestion.archives import store_members
    from helix_pipelines.ingestion.dialects import Dialect
    from helix_pipelines.ingestion.sniff import Sniffed, sniff
    from helix_pipelines.ingestion.store import ContentStore
    from helix_pipelines.parsing.limits import ParseLimits
    from helix_pipelines.parsing.readers import READERS, reader_factory
    from helix_pipelines.parsing.request import ReadRequest
    from helix_pipelines.resilience.errors import FileRejectedError

from helix_pipelines_tests.fuzz.seeds import write_seeds

LIMITS = ParseLimits(
    expanded_bytes=32 * 1024**2, workbook_bytes=32 * 1024**2, document_bytes=1024**2, cell_chars=10_000
)
LONGEST_MESSAGE = 3_000
ARCHIVE = "zip"
BINARY = ("xlsx", "xlsb", "xls", "ods", "parquet")


def one_input(data: bytes) -> None:
    """Read the bytes in both ways."""
    try:
        found = sniff(lambda: io.BytesIO(data), "upload", LIMITS)
    except FileRejectedError as refusal:
        check_refusal(refusal)
    else:
        read(data, found)
    read(data, forced(FORMAT))


def forced(name: str) -> Sniffed:
    """What `sniff` would say of a file of this format with the worst bytes in it."""
    if name in BINARY or name == ARCHIVE:
        return Sniffed(name, None)
    dialect = Dialect("\t" if name == "tsv" else ",") if name in {"csv", "tsv"} else None
    return Sniffed(name, "utf-8", dialect, has_bad_bytes=True, has_nul=True)


def read(data: bytes, sniffed: Sniffed) -> None:
    """Take all rows and look at each."""
    try:
        if sniffed.format == ARCHIVE:
            store_members(io.BytesIO(data), STORE, LIMITS)
            return
        reader = reader_factory(sniffed.format)(ReadRequest(lambda: io.BytesIO(data), sniffed, LIMITS))
        for chunk in reader.chunks():
            for row in chunk:
                if row.code is None:
                    assert row.question.strip(), "an accepted row has a question"
                    assert row.answer.strip(), "an accepted row has an answer"
                    text = f"{row.question}{row.answer}{row.category or ''}{row.url or ''}{row.external_id or ''}"
                    assert "\0" not in text, "an accepted row has no NUL"
                    text.encode()
                else:
                    assert row.reason, "a refused row says why"
    except FileRejectedError as refusal:
        check_refusal(refusal)


def check_refusal(refusal: FileRejectedError) -> None:
    """A refusal is for people: it has a code, and is neither empty nor endless."""
    assert refusal.code.isupper()
    assert 0 < len(refusal.message) < LONGEST_MESSAGE


if __name__ == "__main__":
    FORMAT, CORPUS = sys.argv.pop(1), Path(sys.argv[1])
    if FORMAT not in READERS and FORMAT != ARCHIVE:
        sys.exit(f"FORMAT is one of {', '.join([*READERS, ARCHIVE])}")
    CORPUS.mkdir(parents=True, exist_ok=True)
    STORE = ContentStore(str(CORPUS.with_name(f"{CORPUS.name}-store")))
    write_seeds(FORMAT, CORPUS)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
