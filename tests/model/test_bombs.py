"""Files that unfold to very much are refused, or done with, in seconds and in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.bombs import BOMBS

VERDICTS = {
    "shared_subgraphs": "InvalidModelError",
    "shared_tensor": "InvalidModelError",
    "shared_inputs": "InvalidModelError",
    "shared_inputs_within_budget": "UnsupportedError",
    "overlapping_names": "InvalidModelError",
    "overlapping_buffers": "InvalidModelError",
    "empty_operators": "InvalidModelError",
    "empty_tensors": "ran",
    "one_operator_many_times": "InvalidModelError",
    "one_operator_within_budget": "ran",
    "channels": "UnsupportedError",
    "channels_within_budget": "ran",
    "many_ranks": "UnsupportedError",
    "deep_calls": "UnsupportedError",
    "doubling_calls": "UnsupportedError",
    "circle_of_calls": "InvalidModelError",
}


def test_every_bomb_has_a_verdict() -> None:
    assert set(VERDICTS) == set(BOMBS)


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bomb(name: str) -> None:
    pytest.importorskip("resource", reason="peak memory is asked of a POSIX system")
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.bombs", name],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    verdict, size, before, peak = done.stdout.split()
    assert verdict == VERDICTS[name]
    assert int(peak) - int(before) < 50 * int(size) + 200_000_000
