"""Matrices times vectors with VNNI against numpy in int64 and the integer rule in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro import _int8_dots
from tests.test_int8_gemm import expected, needs_vnni, rescale


@needs_vnni
@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 3),
    st.integers(16, 50),
    st.integers(1, 4),
    st.booleans(),
    st.integers(-12, -1),
)
def test_any_shape_equals_the_integer_rule(seed, batch, rows, chunks, relu, shift):
    rng = np.random.default_rng(seed)
    shape = batch, rows, 16 * chunks
    ends = [-128, 127, -1, 0, 3, 60]
    matrices = rng.choice(ends, shape).astype(np.int8)
    vectors = rng.choice(ends, (batch, shape[2])).astype(np.int8)
    offsets = tuple(int(value) for value in rng.choice([-127, 0, 5, 128], 2))
    bias, offset = int(rng.integers(-5000, 5000)), int(rng.integers(-128, 128))
    rule = rescale([int(rng.integers(2**30, 2**31))], [shift], offset, offset if relu else -128)
    out = np.empty((batch, rows), np.int8)
    function, arguments = _int8_dots.step(matrices, vectors, offsets, bias, rule, out)
    function(*arguments)
    left, right = matrices.astype(np.int64) + offsets[0], vectors.astype(np.int64) + offsets[1]
    sums = np.einsum("nmk,nk->nm", left, right) + bias
    for total, got in zip(sums.reshape(-1), out.reshape(-1), strict=True):
        nothing = np.zeros((1, 1), np.int8)
        assert expected(nothing, nothing, np.array([total]), rule)[0, 0] == got


@pytest.mark.parametrize(("rows", "depth"), [(15, 16), (16, 8), (16, 20), (16, 0)])
def test_other_shapes_are_not_taken(rows, depth):
    assert not _int8_dots.is_supported(rows, depth)
