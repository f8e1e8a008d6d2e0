"""No damaged operator gets anything but an answer or a refusal out of Prepare, Eval and Invoke."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from refmicro.ops import registry
from tests.ops import malformed

VARIANTS = 60
"""Damaged models for each seed; more where the whole suite is swept."""


@pytest.mark.parametrize("name", registry.names())
def test_prepare_answers_or_refuses(name: str) -> None:
    count = VARIANTS * (20 if os.environ.get("HYPOTHESIS_PROFILE") == "sweep" else 1)
    answers = set()
    for number, seed in enumerate(malformed.seeds(name)):
        answers |= {
            malformed.answer(model, run=False)
            for model in malformed.variants(seed, count, seed=number)
        }
    assert answers & {"InvalidModelError", "UnsupportedError"}


def test_eval_answers_or_refuses() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.malformed", "20"],
        env=os.environ | {"REFMICRO_JIT": "off"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_variants_are_damaged_and_the_same_each_time() -> None:
    (seed,) = malformed.seeds("FULLY_CONNECTED", most=0)
    first, second = (list(malformed.variants(seed, 200, seed=1)) for _ in range(2))
    assert first == second
    assert len([model for model in first if model != seed]) > 150
