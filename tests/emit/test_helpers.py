"""The closed form of TFLM's requantization against the rule, and what helpers bring along."""

from hypothesis import given
from hypothesis import strategies as st

from refmicro.emit.helpers import HELPERS, needed
from refmicro.fixedpoint import multiply_by_quantized_multiplier


def doubled_high(x, multiplier):
    return (x * multiplier + (1 << 30)) >> 31


def scaled(x, multiplier, rounding, shift):
    """As the helper of this name computes."""
    high = doubled_high(x, multiplier)
    return (high + (high >> 31) + rounding) >> shift


VALUES = st.integers(-(2**31), 2**31 - 1)
MULTIPLIERS = st.integers(2**30, 2**31 - 1)


@given(VALUES, MULTIPLIERS, st.integers(1, 31), st.integers(-128, 127))
def test_scaled_is_tflms_rule(x, multiplier, shift, offset):
    rounding = (1 << (shift - 1)) + (offset << shift)
    want = multiply_by_quantized_multiplier(x, multiplier, -shift) + offset
    assert scaled(x, multiplier, rounding, shift) == want


@given(VALUES, MULTIPLIERS)
def test_doubled_high_is_tflms_rule(x, multiplier):
    assert doubled_high(x, multiplier) == multiply_by_quantized_multiplier(x, multiplier, 0)


def test_helpers_bring_what_they_call():
    text = needed("y = rescaled(x, 3, 4);")
    assert all(f" {name}(" in text for name in ("doubled_high", "divided", "rescaled"))
    assert "leading_zeros" not in text
    assert needed("y = x;") == ""


def test_every_helper_is_named_as_its_function():
    assert all(f" {name}(" in text for name, text in HELPERS.items())
