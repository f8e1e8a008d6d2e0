"""The rounding rules against exact rational arithmetic written another way."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro import fixedpoint as fp

int32 = st.integers(fp.INT32_MIN, fp.INT32_MAX)
multipliers = st.one_of(st.just(0), st.integers(2**30, 2**31 - 1))


def half_away(value: Fraction) -> int:
    sign = 1 if value >= 0 else -1
    return sign * math.floor(abs(value) + Fraction(1, 2))


def half_up_from_zero_high_mul(a: int, b: int) -> int:
    """gemmlowp adds 2^30 to a positive product and 1 - 2^30 to a negative one, then truncates."""
    product = a * b
    nudge = 2**30 if product >= 0 else 1 - 2**30
    return min(math.trunc(Fraction(product + nudge, 2**31)), fp.INT32_MAX)


@given(int32, int32)
def test_doubling_high_mul_truncates_after_its_nudge(a, b):
    assert fp.saturating_rounding_doubling_high_mul.python(a, b) == half_up_from_zero_high_mul(a, b)


@given(int32, st.integers(0, 31))
def test_rounding_divide_is_half_away_from_zero(x, exponent):
    assert fp.rounding_divide_by_pot.python(x, exponent) == half_away(Fraction(x, 2**exponent))


@given(st.floats(1e-12, 1e6))
def test_quantize_multiplier_is_within_half_a_unit(real):
    multiplier, shift = fp.quantize_multiplier(real)
    if multiplier == 0:
        assert real < 2.0**-31
        return
    assert 2**30 <= multiplier < 2**31
    error = abs(Fraction(real) - Fraction(multiplier) * Fraction(2) ** (shift - 31))
    assert error <= Fraction(2) ** (shift - 32)


def test_quantize_multiplier_carries_into_the_next_power():
    assert fp.quantize_multiplier(1.0 - 2.0**-40) == (2**30, 1)


@pytest.mark.parametrize("real", [math.inf, math.nan])
def test_quantize_multiplier_refuses_what_is_not_finite(real):
    with pytest.raises(ValueError, match="finite"):
        fp.quantize_multiplier(real)


def assert_both_roundings(x, multiplier, shift):
    high = fp.saturating_rounding_doubling_high_mul.python(x, multiplier)
    want = fp.rounding_divide_by_pot.python(high, -shift)
    assert fp.multiply_below_one.python(x, multiplier, shift) == want


@given(int32, st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-31, 0))
def test_both_roundings_in_one_sum(x, multiplier, shift):
    assert_both_roundings(x, multiplier, shift)


@given(st.integers(-40, 40), st.integers(-3, 3), multipliers, st.integers(-31, -1))
def test_both_roundings_near_half_an_integer(step, near, multiplier, shift):
    real = Fraction(2 * step + 1, 2) * Fraction(2) ** (31 - shift) / max(multiplier, 1)
    x = min(max(math.floor(real) + near, fp.INT32_MIN), fp.INT32_MAX)
    assert_both_roundings(x, multiplier, shift)


@given(st.lists(int32, min_size=1, max_size=40), multipliers, st.integers(-31, 8))
def test_compiled_and_python_agree(values, multiplier, shift):
    x = np.array(values, np.int64)
    out = np.empty(x.size, np.int64)
    fp.multiply_array(x, multiplier, shift, out)
    want = [fp.multiply_by_quantized_multiplier.python(v, multiplier, shift) for v in values]
    assert out.tolist() == want


@given(st.integers(-(2**47), 2**47 - 1), multipliers, st.integers(-31, 7))
def test_int64_overload_rounds_once_with_sixteen_bits(x, multiplier, shift):
    reduced = min((multiplier + 2**15) // 2**16, 0x7FFF)
    exact = math.floor(Fraction(x * reduced, 2 ** (15 - shift)) + Fraction(1, 2))
    want = (exact + 2**31) % 2**32 - 2**31
    assert fp.multiply_int64_by_quantized_multiplier.python(x, multiplier, shift) == want


@given(st.floats(-1e9, 1e9))
def test_round_half_away(value):
    assert fp.round_half_away(value) == half_away(Fraction(value))
