"""Options of `refmicro train` that mean nothing: refused before anything is loaded."""

from __future__ import annotations

import pytest

from refmicro.cli.main import main


@pytest.mark.parametrize(
    ("recipe", "option", "value"),
    [
        ("kws-mamba", "--hop-ms", "nan"),
        ("kws-mamba", "--hop-ms", "4"),
        ("kws-mamba", "--learning-rate", "nan"),
        ("kws-mamba", "--qat-learning-rate", "-1"),
        ("kws-mamba", "--seed", "-1"),
        ("kws-mamba", "--clips", "0"),
        ("localisation", "--simulation-seed", "-1"),
    ],
)
def test_values_out_of_range(
    recipe: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, option, value]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == ""
    assert first.startswith(f"error: {option} must be ")
    assert second == f"hint: `refmicro train {recipe} --help` shows how it is called"
