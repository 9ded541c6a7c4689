"""What the environment may say, and how a value that it may not say is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from helix_pipelines.resilience.errors import SetupError
from helix_pipelines.settings import Settings, allowed, load_settings


def refusal(variable: str, value: str) -> str:
    with pytest.raises(SetupError, match="SETTING_INVALID") as refused:
        load_settings({variable: value}, env_file=None)
    return refused.value.message


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999", "9" * 40])
def test_no_number_is_endless(value: str) -> None:
    numbers = [field.name for field in msgspec.structs.fields(Settings) if "number" in allowed(field.name)]
    numbers.remove("embedding_prices")
    assert len(numbers) > 30
    for name in numbers:
        variable = f"HELIX_{name.upper()}"
        assert refusal(variable, value).startswith(f"{variable} is '{value}', but has to be ")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HELIX_MAX_ROWS", "5.5", "a whole number from 1 to 2,000,000,000"),
        ("HELIX_EMBEDDING_RPM", "-1", "a whole number from 0 (no limit) to 1,000,000,000"),
        ("HELIX_EMBEDDING_MAX_CONCURRENCY", "0", "a whole number from 1 to 10,000"),
        ("HELIX_OUTAGE_PATIENCE", "soon", "seconds: a number above 0"),
        ("HELIX_AUTO_RECOVERY", "maybe", "true or false"),
        ("HELIX_UI_PORT", "70000", "a port: a whole number from 1 to 65535"),
        ("HELIX_BUDGET_PER_DAY", "1 EUR", "a sum of money"),
        ("HELIX_EMBEDDING_PRICES", "cheap", "model=price"),
        ("HELIX_EMBEDDING_PRICES", "m=inf", "model=price"),
    ],
)
def test_a_refused_setting_names_the_variable_its_value_and_what_is_allowed(
    variable: str, value: str, words: str
) -> None:
    message = refusal(variable, value)
    assert f"{variable} is {value!r}" in message
    assert words in message


def test_a_long_value_is_cut_off() -> None:
    assert len(refusal("HELIX_MAX_ROWS", "x" * 5_000)) < 250


def test_every_default_is_allowed() -> None:
    given = {
        f"HELIX_{name.upper()}": str(value)
        for name, value in msgspec.structs.asdict(Settings()).items()
        if value is not None
    }
    assert load_settings(given, env_file=None) == Settings(home=Path(given["HELIX_HOME"]))
