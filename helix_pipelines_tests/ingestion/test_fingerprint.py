from __future__ import annotations

import hashlib
from pathlib import Path

from helix_pipelines.ingestion.fingerprint import Fingerprint, fingerprint


def test_a_fingerprint_is_the_hash_and_size_of_the_bytes_whatever_the_name(tmp_path: Path) -> None:
    content = b"question,answer\n" * 100_000
    for name in ("a.csv", "..", " b\n'$(x).tsv"):
        path = tmp_path / ("x" + name)
        path.write_bytes(content)
        assert fingerprint(path) == Fingerprint(hashlib.sha256(content).hexdigest(), len(content))


def test_an_empty_file_has_a_fingerprint_too(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert fingerprint(tmp_path / "empty") == Fingerprint(hashlib.sha256().hexdigest(), 0)
