"""Products with VNNI against numpy in int64 and the integer rule in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro import _int8_gemm, _jit
from refmicro import fixedpoint as fp

needs_vnni = pytest.mark.skipif(
    not _jit.has_byte_products(),
    reason="needs a processor with AVX-512 VNNI and REFMICRO_JIT=on; the BLAS path runs elsewhere",
)


def rescale(multipliers, shifts, offset=0, low=-128, high=127):
    return _int8_gemm.Rescale(
        np.array(multipliers, np.int64), np.array(shifts, np.int64), offset, low, high
    )


def expected(a, w, starts, rule):
    """TFLM's rule, one sum at a time, in Python integers."""
    sums = a.astype(np.int64) @ w.astype(np.int64) + starts
    out = np.empty(sums.shape, np.int8)
    for (row, column), value in np.ndenumerate(sums):
        total = (int(value) + 2**31) % 2**32 - 2**31
        scaled = fp.multiply_by_quantized_multiplier.python(
            total, int(rule.multipliers[column]), int(rule.shifts[column])
        )
        out[row, column] = min(max(scaled + rule.offset, rule.low), rule.high)
    return out


def run(a, w, starts, rule):
    packed = _int8_gemm.pack(w, starts, rule)
    rows = np.zeros((a.shape[0], packed.depth), np.int8)
    rows[:, : a.shape[1]] = a
    # Bytes beside the output would show a store too many.
    around = np.full(out_size := a.shape[0] * w.shape[1] + 128, 77, np.int8)
    out = around[64 : out_size - 64].reshape(a.shape[0], w.shape[1])
    _int8_gemm.product(rows, packed, out)
    assert (around[:64] == 77).all()
    assert (around[-64:] == 77).all()
    return out


@needs_vnni
@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 150),
    st.booleans(),
    st.integers(-128, 127),
)
def test_any_shape_equals_the_integer_rule(seed, rows, depth, channels, relu, offset):
    rng = np.random.default_rng(seed)
    ends = np.array([-128, 127, -127, 0], np.int8)
    a = rng.integers(-128, 128, (rows, depth)).astype(np.int8)
    w = rng.integers(-128, 128, (depth, channels)).astype(np.int8)
    a[rng.random(a.shape) < 0.3] = rng.choice(ends)
    w[rng.random(w.shape) < 0.3] = rng.choice(ends)
    rule = rescale(
        rng.integers(2**30, 2**31, channels),
        rng.integers(-23, 0, channels),
        offset,
        low=offset if relu else -128,
        high=int(rng.integers(offset, 128)),
    )
    assert rule.is_one_sided == (relu or offset == -128)
    starts = rng.integers(-(2**20), 2**20, channels)
    assert np.array_equal(run(a, w, starts, rule), expected(a, w, starts, rule))


@needs_vnni
@pytest.mark.parametrize("shift", [-1, -2, -8, -23])
@pytest.mark.parametrize("multiplier", [2**30, 2**30 + 1, 2**31 - 1])
@pytest.mark.parametrize(("offset", "low"), [(-128, -128), (3, 3), (0, -128), (-7, -100)])
def test_every_rounding(multiplier, shift, offset, low):
    """Sums around each step of the output, through 1 x 1 products: the bias is the sum."""
    steps = np.arange(-140, 141) * 2.0 ** (31 - shift) / multiplier
    near = np.unique(np.rint(np.concatenate([steps + d for d in (-1, 0, 1)])).astype(np.int64))
    half = np.rint(near + 0.5 * 2.0 ** (31 - shift) / multiplier).astype(np.int64)
    starts = np.concatenate([near, half - 1, half, half + 1, [-(2**31), 2**31 - 1, -1, 0, 1]])
    starts = starts[np.abs(starts) <= 2**31]
    rule = rescale([multiplier] * starts.size, [shift] * starts.size, offset, low)
    zero = np.zeros((1, 1), np.int8)
    w = np.zeros((1, starts.size), np.int8)
    assert np.array_equal(run(zero, w, starts, rule), expected(zero, w, starts, rule))


@needs_vnni
def test_sums_beyond_int32_wrap():
    depth = 2**18
    a = np.full((13, depth), -128, np.int8)
    w = np.full((depth, 3), -128, np.int8)
    w[:, 1] = 127
    rule = rescale([2**30, 2**31 - 1, 2**30], [-23, -23, -20])
    starts = np.array([0, 5, 2**31 - 1])
    assert np.array_equal(run(a, w, starts, rule), expected(a, w, starts, rule))


@pytest.mark.parametrize(
    ("multipliers", "shifts"),
    [((2**30,), (0,)), ((2**30,), (-24,)), ((0,), (-3,)), ((2**30, 2**30), (-3, 1)), ((), ())],
)
def test_what_the_rule_does_not_hold_for(multipliers, shifts):
    assert not rescale(multipliers, shifts).is_supported


@pytest.mark.parametrize("vectors", range(1, 20))
def test_blocks_of_columns_are_nearly_even(vectors):
    widths = _int8_gemm._widths(vectors)
    assert sum(widths) == vectors
    assert max(widths) <= 4
    assert max(widths) - min(widths) <= 1
    assert len(widths) == -(-vectors // 4)
    assert widths == sorted(widths, reverse=True)


def test_without_compiled_kernels_there_is_no_vnni(monkeypatch):
    for mode in ("off", "boundscheck"):
        monkeypatch.setattr(_jit, "mode", lambda mode=mode: mode)
        assert not _jit.has_vectors.__wrapped__("avx512vnni")
