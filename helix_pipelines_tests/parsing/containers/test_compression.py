from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import pytest

from helix_pipelines.parsing.containers import compression
from helix_pipelines.parsing.containers.compression import open_plain
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError


def expand(data: bytes, limits: ParseLimits) -> bytes:
    with open_plain(lambda: io.BytesIO(data), "gzip", limits) as plain:
        return plain.read()


def test_members_one_after_the_other_are_one_file() -> None:
    assert expand(gzip.compress(b"a") + gzip.compress(b"b"), ParseLimits()) == b"ab"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-12],
        lambda data: data[:5],
        lambda data: data[:20] + b"\xff" * 20 + data[40:],
        lambda data: data[:-8] + b"\0" * 8,
        lambda data: data + b"trailing garbage",
    ],
)
def test_damaged_data_is_rejected(damage: Callable[[bytes], bytes]) -> None:
    data = gzip.compress(bytes(range(256)) * 50)
    with pytest.raises(FileRejectedError, match="COMPRESSION_DAMAGED"):
        expand(damage(data), ParseLimits())


def test_more_expanded_bytes_than_allowed_are_rejected() -> None:
    with pytest.raises(FileRejectedError, match="EXPANDED_TOO_LARGE"):
        expand(gzip.compress(b"x" * 2000), ParseLimits(expanded_bytes=1999))


def test_a_bomb_is_rejected_by_its_ratio_long_before_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "RATIO_APPLIES_FROM", 1 << 20)
    bomb = gzip.compress(bytes(4 << 20))
    with pytest.raises(FileRejectedError, match="EXPANSION_RATIO"):
        expand(bomb, ParseLimits())


def test_closing_closes_the_source() -> None:
    source = io.BytesIO(gzip.compress(b"a"))
    open_plain(lambda: source, "gzip", ParseLimits()).close()
    assert source.closed
