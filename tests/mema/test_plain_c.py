"""Kernels in plain C against TFLM's integers, compiled for this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refmicro.mema.kernel import Requantization, generate
from refmicro.mema.problem import Matmul
from refmicro.mema.target import TARGETS
from tests.mema.reference import call, compile_host, needs_gcc, product, random_case


@needs_gcc
@pytest.mark.parametrize("name", [t for t in TARGETS if TARGETS[t].family == "plain"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 7, 5), (8, 16, 4), (5, 18, 3)])
def test_matrix_products(name: str, bits: int, sizes: tuple[int, int, int], tmp_path: Path) -> None:
    problem = Matmul(*sizes, input_bits=bits)
    limit = 1 << (bits - 1)
    used = Requantization(3, -limit + 2, limit - 1, -7 if bits == 8 else 0, wide=bits == 16)
    kernel = generate(problem, TARGETS[name], used)
    values, weights, bias, multipliers, shifts = random_case(problem, used, 1)
    packed = kernel.pack(weights, bias, multipliers, shifts)
    library = compile_host(kernel, tmp_path)
    got = call(library, kernel, packed, values, problem.rows * problem.output_depth)
    want = product(values, weights, bias, multipliers, shifts, used)
    np.testing.assert_array_equal(got, want.reshape(-1))
