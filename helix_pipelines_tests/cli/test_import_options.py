from __future__ import annotations

import pytest

from helix_pipelines.cli.import_options import parse_mapping
from helix_pipelines.resilience.errors import UsageError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {}),
        (["question=Frage,answer=Antwort"], {"question": "Frage", "answer": "Antwort"}),
        (["question=Frage", "answer=Antwort"], {"question": "Frage", "answer": "Antwort"}),
        (["question=Frage, kurz, answer = A=B "], {"question": "Frage, kurz", "answer": "A=B"}),
    ],
)
def test_a_mapping_is_read_with_commas_in_column_names(options: list[str], expected: dict[str, str]) -> None:
    assert parse_mapping(options) == expected


@pytest.mark.parametrize("option", ["question", "question=", "frage=x", "question=a,question=b", ""])
def test_a_mapping_that_cannot_be_read_says_how_it_is_written(option: str) -> None:
    with pytest.raises(UsageError, match="MAPPING_INVALID"):
        parse_mapping([option])
