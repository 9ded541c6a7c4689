"""Cutting a stream of rows into chunks that fit one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from helix_pipelines.parsing.rows import ParsedRow

CHUNK_ROWS = 5_000
CHUNK_BYTES = 8 * 1024**2
"""A chunk is held several times over on its way into the database: 8 MB of text stays below 60 MB of memory."""


def chunked(windows: Iterable[tuple[list[ParsedRow], int]], max_rows: int, max_bytes: int) -> Iterator[list[ParsedRow]]:
    """Regroup windows of rows (with the size of their text) into chunks of at most `max_rows`.

    A chunk ends with the window in which it reaches `max_bytes`, so it may be larger by one window.
    """
    chunk: list[ParsedRow] = []
    size = 0
    for rows, window_size in windows:
        chunk += rows
        size += window_size
        while len(chunk) >= max_rows:
            yield chunk[:max_rows]
            chunk = chunk[max_rows:]
            size = window_size if chunk else 0
        if chunk and size >= max_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
