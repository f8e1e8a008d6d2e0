"""SMLAD kernels in the emulator: TFLM's outputs, and every count as predicted."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro.errors import UsageError
from refmicro.fixedpoint import (
    multiply_by_quantized_multiplier,
    multiply_int64_by_quantized_multiplier,
)
from refmicro.mema.cost import Traffic
from refmicro.mema.kernel import Requantization, generate, has_bias
from refmicro.mema.kernels.smlad import find_walk, formula
from refmicro.mema.kernels.smlad_scale import Scale
from refmicro.mema.kernels.smlad_walk import Walk
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import TARGETS
from tests.mema.on_board import Case, Measured, make_case, needs_board, run_on_board

M4 = TARGETS["cortex-m4"]
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")

int32s = st.integers(-(1 << 31), (1 << 31) - 1)


@st.composite
def requantizations(draw: st.DrawFn, bits: int, bias: bool) -> Requantization:
    """Every rule, offset and limit of outputs of `bits`."""
    limit = 1 << (bits - 1)
    wide = bits == 16 and draw(st.booleans())
    left = not wide and draw(st.booleans())
    low = draw(st.one_of(st.just(-limit), st.integers(-limit, 0)))
    high = draw(st.one_of(st.just(limit - 1), st.integers(low, limit - 1)))
    pair = st.tuples(st.integers(1 << 30, (1 << 31) - 1), st.integers(-12, 3 if left else 0))
    return Requantization(
        output_offset=draw(st.integers(-limit, limit - 1)),
        low=low,
        high=high,
        input_zero_point=draw(st.integers(-128, 127)) if bits == 8 and bias else 0,
        wide=wide,
        left_shifts=left,
        constant=draw(st.one_of(st.none(), pair)),
    )


@st.composite
def products(draw: st.DrawFn) -> tuple[Matmul, Requantization]:
    """Products with remainders of all sizes, loops and none."""
    depth = st.one_of(st.integers(1, 13), st.integers(14, 70))
    sizes = (draw(st.integers(1, 17)), draw(depth), draw(st.integers(1, 9)))
    problem = Matmul(*sizes, draw(st.sampled_from([8, 16])), bias=draw(st.booleans()))
    return problem, draw(requantizations(problem.input_bits, problem.bias))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Convolution, Requantization]:
    """Convolutions with and without padding, also where rows of the filter lie apart."""
    small, size = st.integers(1, 2), st.integers(1, 6)
    height = draw(st.integers(1, 3))
    problem = Convolution(
        images=draw(small),
        input_height=draw(size),
        input_width=draw(size),
        input_depth=draw(st.integers(1, 9)),
        output_depth=draw(st.integers(1, 9)),
        output_height=draw(size),
        output_width=draw(size),
        filter_height=height,
        filter_width=draw(st.integers(1, 3)),
        stride_height=draw(small),
        stride_width=draw(small),
        dilation_height=draw(small),
        dilation_width=draw(st.integers(1, 3)) if height == 1 else 1,
        pad_height=draw(st.integers(0, 2)),
        pad_width=draw(st.integers(0, 2)),
        input_bits=draw(st.sampled_from([8, 16])),
    )
    return problem, draw(requantizations(problem.input_bits, True))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Matmul | Convolution, Requantization]:
    """Either."""
    return draw(st.one_of(products(), windows()))


def check_on_board(pairs: list[tuple[Matmul | Convolution, Requantization]], folder: Path) -> None:
    """Outputs as TFLM's integers, instructions and accesses of each operand as predicted."""
    cases = [
        make_case(problem, "cortex-m4", used, seed, f"kernel_{seed}")
        for seed, (problem, used) in enumerate(pairs)
    ]
    for case, measured in zip(
        cases, run_on_board(cases, "cortex-m4", folder, WARNINGS), strict=True
    ):
        np.testing.assert_array_equal(measured.outputs, case.want, case.kernel.text[:400])
        check_counts(case, measured)


def check_counts(case: Case, measured: Measured) -> None:
    """Nothing is read but the operands, the stack and one word of `struct mema_weights`."""
    counts, got = case.kernel.counts, measured.accesses
    assert counts is not None
    stream = counts.filter_loads + counts.bias_loads + counts.scale_loads
    stack = counts.stack_loads + counts.stack_stores + counts.frame_loads + counts.frame_stores
    assert measured.instructions == counts.instructions
    assert got.input_loads == Traffic(counts.input_loads, counts.input_bytes)
    assert got.filter_loads == Traffic(stream, 4 * stream)
    assert measured.stack_count == stack
    assert got.output_stores == Traffic(counts.output_stores, case.want.nbytes)
    assert got.count == case.kernel.accesses.count
    assert counts.accesses == got.count + stack + 1


@needs_board("cortex-m4")
def test_every_remainder(tmp_path: Path) -> None:
    """Channels, depth and rows from nothing to more than a tile, a step and a turn of the loop."""
    sizes = [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6), (7, 7, 7)]
    sizes += [(8, 8, 1), (9, 9, 1), (15, 33, 1), (4, 32, 4), (4, 35, 5), (5, 46, 6), (7, 64, 3)]
    for bits in (8, 16):
        used = Requantization(low=-(1 << (bits - 1)), high=(1 << (bits - 1)) - 1)
        check_on_board([(Matmul(*size, input_bits=bits), used) for size in sizes], tmp_path)


@needs_board("cortex-m4")
@settings(max_examples=3, deadline=None)
@given(st.lists(problems(), min_size=8, max_size=8))
def test_any_problem(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[Matmul | Convolution, Requantization]],
) -> None:
    check_on_board(pairs, tmp_path_factory.mktemp("smlad"))


@needs_board("cortex-m4")
def test_dilated_columns_of_one_row(tmp_path: Path) -> None:
    """A temporal convolution, with the padding of its sides and without."""
    plain = Convolution(1, 1, 19, 5, 6, 1, 11, 1, 3, dilation_width=4)
    padded = Convolution(1, 1, 13, 5, 6, 1, 13, 1, 3, dilation_width=3, pad_width=3)
    used = Requantization(input_zero_point=-4, left_shifts=False)
    assert generate(plain, M4, used).counts is not None
    check_on_board([(plain, used), (padded, used)], tmp_path)


@needs_board("cortex-m7")
def test_the_same_on_cortex_m7(tmp_path: Path) -> None:
    used = Requantization(low=-32768, high=32767, left_shifts=False)
    case = make_case(Matmul(9, 39, 7, input_bits=16), "cortex-m7", used, 2, "kernel")
    (measured,) = run_on_board([case], "cortex-m7", tmp_path)
    np.testing.assert_array_equal(measured.outputs, case.want)
    check_counts(case, measured)


@given(st.integers(1, 200), st.sampled_from([1, 2]))
def test_steps_read_each_value_once_and_nothing_else(run: int, value_bytes: int) -> None:
    found = Walk(1, value_bytes, 1, run, 0, 1, run * value_bytes)
    places = [k for step in found.steps for k in step.values if k is not None]
    assert sorted(places) == list(range(run))
    for step in found.steps:
        first = step.offset_bytes // value_bytes
        assert first + step.loaded <= run
        assert all(k in (None, first + i) for i, k in enumerate(step.values))


@needs_board("cortex-m4")
def test_a_core_without_floating_point_is_told(tmp_path: Path) -> None:
    case = make_case(Matmul(4, 4, 4), "cortex-m4", Requantization(), 1, "kernel")
    with pytest.raises(UsageError, match="with FPU"):
        run_on_board([case], "cortex-m4", tmp_path, ("-mfloat-abi=soft",))


@needs_board("cortex-m4")
def test_far_rows_and_wide_outputs(tmp_path: Path) -> None:
    """Distances that no instruction holds: rows of 5000 values, outputs of 1500 channels."""
    used = Requantization(input_zero_point=3)
    pairs = [(Matmul(4, 5000, 3), used), (Matmul(1500, 4, 5), used), (Matmul(1101, 3, 4), used)]
    check_on_board(pairs, tmp_path)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_closed_form_is_the_count(pair: tuple[Matmul | Convolution, Requantization]) -> None:
    problem, used = pair
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    kernel = generate(problem, M4, used)
    found = find_walk(matmul if getattr(problem, "is_matmul", False) else problem, used)
    scale = Scale(used, matmul.input_bits, has_bias(matmul, used))
    assert dataclasses.replace(kernel.counts, instructions=0) == formula(found, scale)


def test_every_channel_of_a_tile_counts_alike() -> None:
    """64 channels of depth 576 in 64 rows: the formula by hand."""
    used = Requantization(left_shifts=False)
    counts = generate(Matmul(64, 576, 64), M4, used).counts
    assert counts.input_loads == 16 * 64 * 144
    assert counts.filter_loads == 16 * 64 * 144
    assert (counts.bias_loads, counts.scale_loads) == (16 * 64, 16 * 64 * 2)
    assert counts.output_stores == 64 * 16


def smml(x: int, d: int, nudge: int) -> int:
    """`smmla` and `smmlar` of x, d, x: bits 32 and up of (x << 32) + x * d + nudge."""
    signed = (d + (1 << 31)) % (1 << 32) - (1 << 31)
    high = ((x << 32) + x * signed + nudge) >> 32
    return (high + (1 << 31)) % (1 << 32) - (1 << 31)


def shifted(y: int, e: int, carry: int) -> int:
    """`asrs` by a register, then `adc` of 0: the carry stays for a shift by 0."""
    out = carry if e == 0 else (y >> (e - 1)) & 1
    return (y >> e) + out


@given(int32s, st.integers(1 << 30, (1 << 31) - 1), st.integers(0, 31))
def test_five_instructions_are_the_int32_rule(x: int, multiplier: int, e: int) -> None:
    y = smml(x, 2 * multiplier, 1 << 31)
    carry = int(y < 0)
    got = shifted(y - carry, e, carry)
    assert got == multiply_by_quantized_multiplier(x, multiplier, -e)


@given(int32s, st.integers(1 << 30, (1 << 31) - 1), st.integers(0, 31))
def test_instructions_are_the_int64_rule(x: int, multiplier: int, e: int) -> None:
    factor = Scale(Requantization(wide=True), 16, True).factor(multiplier)
    got = smml(x, factor, 1 << 31) if e == 0 else shifted(smml(x, factor, 0), e, 0)
    assert got == multiply_int64_by_quantized_multiplier(x, multiplier, -e)


@needs_board("cortex-m4")
def test_multiplier_zero_and_shift_zero(tmp_path: Path) -> None:
    """A channel whose outputs are all the offset, beside channels that do not shift."""
    problem, used = Matmul(3, 9, 5), Requantization(output_offset=-9, left_shifts=False)
    case = make_case(problem, "cortex-m4", used, 1, "kernel")
    multipliers, shifts = [0, 1 << 30, (1 << 31) - 1], [0, 0, -1]
    weights = np.arange(-13, 14).reshape(3, 9).astype(np.int8)
    bias = np.array([5, -70, 33])
    packed = case.kernel.pack(weights, bias, multipliers, shifts)
    sums = case.values.astype(int) @ weights.T.astype(int) + bias
    want = np.array(
        [
            [
                min(max(multiply_by_quantized_multiplier(int(x), m, s) - 9, -128), 127)
                for x, m, s in zip(row, multipliers, shifts, strict=True)
            ]
            for row in sums
        ],
        np.int8,
    )
    case = dataclasses.replace(case, packed=packed, want=want.reshape(-1))
    (measured,) = run_on_board([case], "cortex-m4", tmp_path)
    np.testing.assert_array_equal(measured.outputs, case.want)


def test_shifts_that_the_int64_rule_does_not_take() -> None:
    used = Requantization(low=-32768, high=32767, wide=True, left_shifts=False)
    kernel = generate(Matmul(2, 3, 1, input_bits=16), M4, used)
    with pytest.raises(UsageError, match="must be below 0"):
        kernel.pack(np.ones((2, 3)), np.zeros(2), [1 << 30] * 2, [-1, 0])


def test_what_goes_to_the_plain_kernel() -> None:
    """Sums of 64 bits, columns dilated in several rows, padded rows too long for a stack."""
    wide = Requantization(low=-32768, high=32767, wide=True, wide_sums=True)
    assert generate(Matmul(4, 4, 4, input_bits=16), M4, wide).counts is None
    used = Requantization()
    dilated = Convolution(1, 5, 5, 2, 3, 3, 3, 2, 2, dilation_width=2)
    assert generate(dilated, M4, used).counts is None
    long = Convolution(1, 4, 3000, 2, 3, 4, 3000, 3, 3, pad_height=1, pad_width=1)
    assert generate(long, M4, used).counts is None


def test_text_says_what_it_executes() -> None:
    kernel = generate(Matmul(16, 27, 8), M4, Requantization())
    total = kernel.counts
    assert f"{total.instructions} instructions" in kernel.text
    assert f"{total.loads} loads" in kernel.text
    parts = [re.search(r"(once|\d+ times), (\d+) instr", line) for line in kernel.text.splitlines()]
    runs = [(1 if p[1] == "once" else int(p[1].split()[0]), int(p[2])) for p in parts if p]
    assert sum(times * count for times, count in runs) == total.instructions
