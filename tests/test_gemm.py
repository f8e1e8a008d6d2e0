"""Exact integer products against Python integers; the float product's order of sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro import _gemm


@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from([7, 12, 20, 24]),
)
def test_exact_where_the_bound_says_so(seed, m, k, n, bits):
    rng = np.random.default_rng(seed)
    a = rng.integers(-(2**bits), 2**bits, (m, k), dtype=np.int64)
    b = rng.integers(-127, 128, (k, n), dtype=np.int64)
    bound = int((np.abs(a).max(0) @ np.abs(b)).max())
    got = _gemm.matmul(a, b, bound)
    assert got.dtype == (np.float32 if bound <= 2**24 else np.float64)
    want = [[sum(int(x) * int(y) for x, y in zip(r, c, strict=True)) for c in b.T] for r in a]
    assert got.astype(np.int64).tolist() == want
    for row, sums in zip(a, want, strict=True):
        out = np.full(n, 99, got.dtype)
        _gemm.row_times(row, b.astype(got.dtype), out)
        assert out.astype(np.int64).tolist() == sums


def test_the_bounds_edge_is_exact_in_float32():
    a = np.full((1, 2**10), 2**7)
    assert _gemm.matmul(a, np.full((2**10, 1), 2**7), 2**24)[0, 0] == 2**24
    assert _gemm.accumulator_dtype(2**24 + 1) == np.float64


def test_beyond_float64_is_refused():
    with pytest.raises(OverflowError, match="not exact"):
        _gemm.accumulator_dtype(2**53 + 1)


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 20), st.booleans())
def test_float_product_rounds_in_the_order_of_depth(seed, batch, depth, shared):
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 9, (batch, 2, depth)).astype(np.float32)
    b = rng.normal(0, 9, (1 if shared else batch, depth, 3)).astype(np.float32)
    bias = rng.normal(0, 9, (1, 3)).astype(np.float32)
    got = _gemm.float_matmul(a, b, bias, (np.float32(-50), np.float32(50)))
    sums = np.zeros((batch, 2, 3), np.float32)
    for k in range(depth):
        sums = sums + a[:, :, k, None] * b[:, None, k, :]
    want = np.clip(sums + bias[:, None], np.float32(-50), np.float32(50))
    assert got.tobytes() == want.tobytes()


@given(
    st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 4), st.integers(1, 70), st.booleans()
)
def test_small_products_are_exact(seed, batch, columns, depth, shared):
    rng = np.random.default_rng(seed)
    a = rng.integers(-128, 128, (1 if shared else batch, 3, depth)).astype(np.int8)
    b = rng.integers(-128, 128, (batch, columns, depth)).astype(np.int8)
    points = [int(point) for point in rng.choice([-127, 0, 128, 5], 2)]
    got = _gemm.int8_products(a, b, *points)
    left, right = a.astype(np.int64) + points[0], b.astype(np.int64) + points[1]
    assert got.dtype == np.int32
    assert np.array_equal(got, left @ right.swapaxes(1, 2))


def test_the_largest_small_product_is_exact():
    ends = np.full((1, 1, 2**15), -128, np.int8)
    assert _gemm.int8_products(ends, ends, -127, -127)[0, 0, 0] == 255 * 255 * 2**15
