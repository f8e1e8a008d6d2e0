"""Problems, targets and kernels refuse what they cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro.errors import UnsupportedError, UsageError
from refmicro.fixedpoint import quantize_multiplier
from refmicro.mema.kernel import Requantization, generate, sums_fit_int32
from refmicro.mema.layout import layout
from refmicro.mema.problem import MAX_SIZE, Convolution, Matmul
from refmicro.mema.schedule import derive
from refmicro.mema.target import TARGETS, find_target

M3 = find_target("cortex-m3")
IMAGE = Convolution(1, 8, 9, 3, 4, 8, 9, 3, 3, pad_height=1, pad_width=1)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -1, 1), (1, 1, MAX_SIZE + 1)])
def test_sizes_are_positive_and_small(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="must be 1 to"):
        Matmul(*sizes)


def test_other_types_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="inputs of 32 bits"):
        Matmul(1, 1, 1, input_bits=32)
    with pytest.raises(UnsupportedError, match="inputs of 4 bits"):
        dataclasses.replace(IMAGE, input_bits=4)


def test_an_unknown_target_names_all() -> None:
    with pytest.raises(UsageError, match="no such target: z80") as caught:
        find_target("z80")
    assert all(name in caught.value.hint for name in TARGETS)


def test_no_tile_without_registers() -> None:
    tiny = dataclasses.replace(M3, registers=M3.fixed_registers + 2)
    with pytest.raises(UnsupportedError, match="its registers hold no tile"):
        derive(Matmul(4, 4, 4), tiny)


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({}, (3, 3)),
        ({"pad_width": 0, "output_width": 7}, (3, 1)),
        ({"pad_width": 0}, (3, 3)),  # the last column looks past the right edge
        ({"pad_width": 0, "output_width": 5, "dilation_width": 2}, (3, 3)),
        ({"pad_width": 0, "filter_width": 9, "output_width": 1}, (3, 1)),
        (
            {
                "pad_width": 0,
                "pad_height": 0,
                "filter_width": 9,
                "output_width": 1,
                "output_height": 6,
            },
            (1, 1),
        ),
    ],
)
def test_positions_join_into_runs(change: dict[str, int], runs: tuple[int, int]) -> None:
    assert dataclasses.replace(IMAGE, **change).runs == runs


def test_a_1x1_convolution_is_a_product() -> None:
    pointwise = Convolution(2, 5, 6, 8, 4, 5, 6, 1, 1)
    assert pointwise.is_matmul
    assert pointwise.matmul == Matmul(4, 8, 60)
    assert layout(pointwise, M3) == layout(pointwise.matmul, M3)
    assert not dataclasses.replace(pointwise, stride_width=2, output_width=3).is_matmul


def test_unaligned_rows_cost_single_loads_where_words_must_be_aligned() -> None:
    problem = Matmul(4, 27, 4)
    assert layout(problem, find_target("cortex-m3")).input_words == 7
    assert layout(problem, find_target("cortex-m0plus")).input_words == 27
    assert layout(Matmul(4, 28, 4), find_target("cortex-m0plus")).input_words == 7


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (Requantization(0, -129, 127), "limits must be values of int8"),
        (Requantization(wide=True), "int8 products add in int32"),
    ],
)
def test_requantization_must_fit_the_problem(used: Requantization, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(Matmul(1, 1, 1), M3, used)


def test_requantization_must_fit_itself() -> None:
    with pytest.raises(UsageError, match="must not cross"):
        Requantization(0, 5, 4)
    with pytest.raises(UsageError, match="wide_sums without wide"):
        Requantization(wide_sums=True)


@pytest.mark.parametrize(
    "problem", [Matmul(2, 2, 2, constant_filter=False), Matmul(2, 2, 2, batches=2)]
)
def test_two_activations_have_a_schedule_and_no_kernel(problem: Matmul) -> None:
    assert derive(problem, M3).accesses.count > 0
    with pytest.raises(UnsupportedError, match="multiplies two activations"):
        generate(problem, M3, Requantization())


def test_pack_checks_what_was_baked_in() -> None:
    weights, pair = np.ones((2, 3), np.int8), quantize_multiplier(0.01)
    problem = Matmul(2, 3, 1)
    kernel = generate(problem, M3, Requantization(left_shifts=False))
    with pytest.raises(UsageError, match="shift is above 0"):
        kernel.pack(weights, [0, 0], [1 << 30] * 2, [0, 1])
    kernel = generate(problem, M3, Requantization(constant=pair))
    with pytest.raises(UsageError, match="differ from the constant"):
        kernel.pack(weights, [0, 0], [pair[0]], [pair[1] + 1])
    assert set(kernel.pack(weights, [0, 0], [pair[0]], [pair[1]])) == {"filter", "bias"}
    kernel = generate(Matmul(2, 3, 1, bias=False), M3, Requantization())
    with pytest.raises(UsageError, match="has no bias"):
        kernel.pack(weights, [1, 0], [pair[0]], [pair[1]])


def test_sums_that_leave_int32_are_seen() -> None:
    weights = np.full((1, 515), 127, np.int8)
    assert sums_fit_int32(weights, None, 16)
    assert not sums_fit_int32(weights, np.array([1 << 24]), 16)
    assert not sums_fit_int32(np.full((1, 517), 127, np.int8), None, 16)
    kernel = generate(Matmul(1, 515, 1, 16), M3, Requantization(0, -32768, 32767, wide=True))
    with pytest.raises(UsageError, match="sums do not fit int32"):
        kernel.pack(weights, np.array([1 << 24]), [1 << 30], [-9])
