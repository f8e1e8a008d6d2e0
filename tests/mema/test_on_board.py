"""Kernels on emulated boards: bit-exact, and accesses counted are those predicted, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refmicro.mema.cost import Accesses
from refmicro.mema.kernel import Requantization, generate
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import find_target
from tests.mema.on_board import Case, make_case, needs_board, run_on_board
from tests.mema.reference import product

NARROW = Requantization(3, -128, 127, -7)
SHORT = Requantization(-4, -100, 90, 5, left_shifts=False)
BAKED = Requantization(2, -128, 127, 9, constant=((1 << 30) + 12345, -8))
INT16 = Requantization(0, -32768, 32767)
WIDE = Requantization(0, -32768, 32767, wide=True)
WIDER = Requantization(0, -32768, 32767, wide=True, wide_sums=True)

PROBLEMS = (
    (Matmul(7, 32, 5), NARROW),
    (Matmul(12, 27, 6), SHORT),
    (Matmul(16, 8, 9), BAKED),
    (Matmul(9, 21, 1, bias=False), NARROW),
    (Matmul(5, 3, 4), SHORT),
    (Matmul(6, 22, 5, input_bits=16), INT16),
    (Matmul(4, 15, 3, input_bits=16, bias=False), WIDE),
    (Matmul(5, 17, 2, input_bits=16), WIDER),
    (Convolution(1, 4, 5, 4, 5, 4, 5, 3, 3, pad_height=1, pad_width=1), NARROW),
    (Convolution(2, 5, 5, 3, 4, 2, 2, 3, 2, 2, 2), SHORT),
    (Convolution(1, 6, 1, 8, 6, 4, 1, 3, 1, input_bits=16), WIDE),
)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, marks=needs_board(target))
        for target in ("cortex-m0plus", "cortex-m3", "cortex-m55", "rv32im")
    ],
)
def test_counted_is_predicted(target: str, tmp_path: Path) -> None:
    cases = [
        make_case(problem, target, used, seed, f"kernel_{seed}")
        for seed, (problem, used) in enumerate(PROBLEMS)
    ]
    for case, measured in zip(cases, run_on_board(cases, target, tmp_path), strict=True):
        np.testing.assert_array_equal(measured.outputs, case.want)
        predicted = case.kernel.accesses
        if target == "cortex-m55":
            # The emulator reports vector loads value by value: their bytes are right.
            assert moved(measured.accesses) == moved(predicted)
        else:
            assert measured.accesses == predicted


@needs_board("cortex-m55")
@pytest.mark.parametrize("rows", [1, 3])
def test_vector_rules_at_their_ends(rows: int, tmp_path: Path) -> None:
    """Every shift that TFLM takes, multipliers of 0 and at their ends, sums of any size."""
    shifts = [shift for shift in range(-31, 31) for _ in range(3)]
    multipliers = [0, 1 << 30, (1 << 31) - 1] * 62
    random = np.random.default_rng(4)
    values = random.integers(-128, 127, (rows, 5), np.int8, endpoint=True)
    weights = random.integers(-127, 127, (len(shifts), 5), np.int8, endpoint=True)
    bias = random.integers(-(1 << 31) + 1, 1 << 31, len(shifts))
    problem, used = Matmul(len(shifts), 5, rows), Requantization(7)
    kernel = generate(problem, find_target("cortex-m55"), used)
    want = product(values, weights, bias, multipliers, shifts, used).reshape(-1)
    packed = kernel.pack(weights, bias, multipliers, shifts)
    (measured,) = run_on_board([Case(kernel, packed, values, want)], "cortex-m55", tmp_path)
    np.testing.assert_array_equal(measured.outputs, want)


def moved(accesses: Accesses) -> dict[str, int]:
    """Bytes by kind."""
    return {name: traffic.bytes for name, traffic in vars(accesses).items()}
