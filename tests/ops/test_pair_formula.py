"""Formulas that replace tables of pairs: proven for every pair, or not used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro._jit import has_vectors
from refmicro.fixedpoint import quantize_multiplier
from refmicro.ops._elementwise import Pairwise, Shapes
from refmicro.ops._pair_formula import (
    Formula,
    product,
    proven_constants,
    proven_line_constants,
    real_factor,
    weighted_sum,
)
from refmicro.ops._sum import quantized_sum, sum_formula
from refmicro.ops.mul import _mul

POINTS = st.integers(-128, 127)


def operator(kernel, arguments, formula, a=(65536,), b=(65536,)):
    shapes = Shapes(a, b, np.broadcast_shapes(a, b), np.broadcast_shapes(a, b))
    compute = Pairwise(shapes, kernel, arguments, np.dtype(np.int8), formula)
    # As after many elements, from where on the formula is worth its proof.
    compute.done[0] = 1 << 20
    return compute


def mul(real, a_offset, b_offset, output_offset, *shapes):
    multiplier, shift = quantize_multiplier(real)
    arguments = a_offset, b_offset, multiplier, shift, output_offset, -128, 127
    factors = real_factor(multiplier, shift), 0.0
    formula = Formula(
        product, (a_offset, b_offset), factors, 2.0 ** (shift - 1), output_offset, -128, 127
    )
    return operator(_mul, arguments, formula, *shapes)


def total(scales, points, *shapes):
    a, b, output = scales
    twice = 2 * max(a, b)
    reals = a / twice, b / twice, twice / (2**20 * output)
    pairs = (value for real in reals for value in quantize_multiplier(real))
    arguments = 20, points[0], points[1], *pairs, 1, points[2], -128, 127
    return operator(quantized_sum, arguments, sum_formula(arguments), *shapes)


def all_pairs():
    values = np.arange(256, dtype=np.uint8).view(np.int8)
    return np.repeat(values, 256)[None], np.tile(values, 256)[None]


def check_every_pair(compute):
    """With and without vector instructions."""
    want = np.empty(65536, np.int8)
    a, b = all_pairs()
    compute.kernel(a[0], b[0], *compute.arguments, want)
    assert np.array_equal(compute(a, b)[0], want)
    compute.__dict__["line_constants"] = None
    assert np.array_equal(compute(a, b)[0], want)


@given(st.floats(1e-4, 0.4), POINTS, POINTS, POINTS)
def test_products(real, a_offset, b_offset, output_offset):
    check_every_pair(mul(real, a_offset, b_offset, output_offset))


@given(
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 2)),
    st.tuples(POINTS, POINTS, POINTS),
)
def test_sums(scales, points):
    check_every_pair(total(scales, points))


OPERATORS = {
    "product": lambda *shapes: mul(0.003, 5, -7, 3, *shapes),
    "sum": lambda *shapes: total((0.031, 0.0173, 0.0417), (3, -9, 4), *shapes),
}
SHAPES = [
    ((64, 1), (64, 16)),
    ((64, 16), (64, 1)),
    ((64, 1), (1, 16)),
    ((1,), (70,)),
    ((70,), (1,)),
    ((8, 37), (1, 37)),
    ((1, 37), (8, 37)),
    ((5, 1, 19), (5, 7, 19)),
    ((5, 7, 19), (5, 1, 19)),
    ((1, 1, 19), (6, 7, 1)),
    ((6, 1), (6, 100)),
    ((6, 100), (6, 1)),
    ((9, 3), (9, 1)),
]


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_broadcasting_rounds_alike(make, a, b, vectors):
    """Lines with one value of an input go through another loop than the one that was proven."""
    if vectors and not has_vectors():
        pytest.skip("needs a processor with AVX-512 for bytes and REFMICRO_JIT=on")
    compute = make(a, b)
    if not vectors:
        compute.__dict__["line_constants"] = None
    rng = np.random.default_rng(0)
    left = rng.integers(-128, 128, (100, *a)).astype(np.int8)
    right = rng.integers(-128, 128, (100, *b)).astype(np.int8)
    got = compute(left, right)
    assert (compute.line_constants if vectors else compute.constants) is not None
    table = compute.table.view(np.int8).reshape(256, 256)
    want = table[left.view(np.uint8), right.view(np.uint8)]
    assert np.array_equal(got, want)


@pytest.mark.skipif(
    not has_vectors(), reason="needs a processor with AVX-512 for bytes and REFMICRO_JIT=on"
)
@pytest.mark.parametrize("count", [16, 17, 31, 33, 100])
@pytest.mark.parametrize("steps", [(1, 1), (0, 1), (1, 0)])
@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
def test_lines_end_where_they_should(make, count, steps):
    """Nothing beside the output is written, whatever is left over behind whole registers."""
    compute = make()
    rng = np.random.default_rng(count)
    lines = 5
    a, b = (
        rng.integers(-128, 128, lines * (count if step else 1)).astype(np.int8) for step in steps
    )
    loops = np.array([[1, lines, count]] + [[0, count if s else 1, s] for s in steps])
    memory = np.full(lines * count + 128, 77, np.int8)
    out = memory[64:-64]
    compute.formula.lines(a, b, loops, compute.line_constants, out)
    left, right = (
        (x.reshape(lines, -1) + np.zeros((lines, count), np.int8)).view(np.uint8) for x in (a, b)
    )
    want = compute.table.view(np.int8).reshape(256, 256)[left, right]
    assert np.array_equal(out.reshape(lines, count), want)
    assert (memory[:64] == 77).all()
    assert (memory[-64:] == 77).all()


def test_a_formula_that_misses_is_not_used():
    compute = total((0.031, 0.0173, 0.0417), (3, -9, 4))
    wrong = Formula(weighted_sum, (3, -9), (0.7, 0.4), 0.0, 4, -128, 127)
    assert proven_constants(wrong, compute.table.view(np.int8)) is None
    assert proven_line_constants(wrong, compute.table.view(np.int8)) is None
    assert proven_constants(compute.formula, compute.table.view(np.int8)) is not None


@pytest.mark.skipif(
    not has_vectors(), reason="needs a processor with AVX-512 for bytes and REFMICRO_JIT=on"
)
@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
def test_large_prepared_inputs_stay_alive(make):
    """Memory of this size goes back to the system when nothing refers to it any more."""
    compute = make()
    values = np.random.default_rng(0).integers(-128, 128, 1 << 20).astype(np.int8)
    out = np.empty(16 << 20, np.int8)
    loops = np.array([[1, 1 << 20, 16], [0, 1, 0], [0, 0, 1]])
    compute.formula.lines(values, values[:16], loops, compute.line_constants, out)
    table = compute.table.view(np.int8).reshape(256, 256)
    want = table[values.view(np.uint8)[:, None], values[:16].view(np.uint8)]
    assert np.array_equal(out.reshape(-1, 16), want)
