"""exp, log, logistic, tanh, reciprocal, inverse square root in 32-bit fixed point, and tables.

A fixed-point number with m integer bits is raw * 2^(m - 31). Everything here is exact integer
arithmetic on int64 that holds int32 values.
Sources: gemmlowp's `fixedpoint/fixedpoint.h`; `log_x_for_x_greater_than_or_equal_to_1`,
`GetReciprocal`, `GetInvSqrtQuantizedMultiplierExp` and the sigmoid table in
`tensorflow/lite/kernels/internal/common.h`; `CalculateInputRadius` and `CheckedLog2` in
`quantization_util.cc` beside it.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import (
    f32,
    rounding_divide_by_pot,
    saturating_left_shift,
    saturating_rounding_doubling_high_mul,
)


@jit
def wrap_int32(x):
    """The int32 that the low 32 bits of `x` are."""
    return ((x + 2147483648) & 4294967295) - 2147483648


@jit
def leading_zeros(x):
    """Zero bits above the highest one of a 32-bit value that is not negative."""
    count = 32
    while x > 0:
        x >>= 1
        count -= 1
    return count


@jit
def _exp_in_quarter(a):
    """e^a for a in [-1/4, 0), no integer bits: a Taylor polynomial around -1/8."""
    x = a + (1 << 28)
    x2 = saturating_rounding_doubling_high_mul(x, x)
    x3 = saturating_rounding_doubling_high_mul(x2, x)
    x4 = saturating_rounding_doubling_high_mul(x2, x2)
    high = rounding_divide_by_pot(x4, 2) + x3
    high = saturating_rounding_doubling_high_mul(high, 715827883) + x2  # 1/3
    tail = x + rounding_divide_by_pot(high, 1)
    return 1895147668 + saturating_rounding_doubling_high_mul(1895147668, tail)  # e^(-1/8)


@jit
def exp_on_negative_values(a, integer_bits):
    """e^a for a <= 0 with up to 5 integer bits; the result has none."""
    if a == 0:
        return 2147483647
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    inside = (a & (quarter - 1)) - quarter
    result = _exp_in_quarter(inside << integer_bits)
    steps = inside - a
    # e^(-2^k) for k from -2 on, one factor for each bit of the number of quarters.
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for k in range(integer_bits + 2):
        if steps & (quarter << k):
            result = saturating_rounding_doubling_high_mul(result, factors[k])
    return result


@jit
def _inverse_of_half_sum(a):
    """2 / (1 + a), 2 integer bits, for `a` in (0, 1): three steps of Newton's."""
    total = a + 2147483647
    half = (total + 1) >> 1 if total >= 0 else -((1 - total) >> 1)
    x = 1515870810 + saturating_rounding_doubling_high_mul(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - saturating_rounding_doubling_high_mul(half, x)
        step = saturating_left_shift(saturating_rounding_doubling_high_mul(x, error), 2)
        x = wrap_int32(x + step)
    return x


@jit
def one_over_one_plus_x(a):
    """1 / (1 + a) for `a` in (0, 1), no integer bits."""
    return saturating_left_shift(_inverse_of_half_sum(a), 1)


@jit
def logistic(a, integer_bits):
    """1 / (1 + e^-a), no integer bits in the result."""
    if a == 0:
        return 1 << 30
    positive = one_over_one_plus_x(exp_on_negative_values(-abs(a), integer_bits))
    return positive if a > 0 else 2147483647 - positive


@jit
def tanh(a, integer_bits):
    """Hyperbolic tangent from e^(-2a), no integer bits in the result."""
    if a == 0:
        return 0
    power = exp_on_negative_values(-abs(a), integer_bits + 1)
    result = saturating_left_shift(_inverse_of_half_sum(power) - (1 << 29), 2)
    return -result if a < 0 else result


@jit
def get_reciprocal(x, integer_digits):
    """(1 / x, bits over 1): `x` has `integer_digits` integer bits, the result none.

    0, which has no reciprocal, gives what TFLM's steps give on x86.
    """
    headroom_plus_one = leading_zeros(x)
    shifted = (x << headroom_plus_one) - (1 << 31)
    return one_over_one_plus_x(shifted), integer_digits - headroom_plus_one


@jit
def inverse_square_root(x):
    """(multiplier, right shift) of 1 / sqrt(x); 0 and 1 both give the largest multiplier."""
    if x <= 1:
        return 2147483647, 0
    right_shift = 11
    while x >= (1 << 29):
        x >>= 2
        right_shift += 1
    pairs = (leading_zeros(x) - 1) // 2 - 1
    right_shift -= pairs
    half = (x << (2 * pairs)) >> 1
    quarter = rounding_divide_by_pot(half, 1)
    y = 1 << 28
    for _ in range(5):
        cube = saturating_rounding_doubling_high_mul(y, y)
        cube = saturating_rounding_doubling_high_mul(cube, y)
        cube = saturating_left_shift(cube, 6)
        left = saturating_rounding_doubling_high_mul((1 << 28) + (1 << 27), y)
        right = saturating_rounding_doubling_high_mul(quarter, cube)
        y = saturating_left_shift(left - right, 3)
    y = saturating_rounding_doubling_high_mul(y, 1518500250)  # sqrt(2) / 2
    if right_shift < 0:
        y <<= -right_shift
        right_shift = 0
    return y, right_shift


@jit
def leading_sign_bits(x):
    """Bits below the sign bit of an int32 that only repeat it."""
    return leading_zeros(x) - 1 if x >= 0 else leading_zeros(-2 * x - 1)


@jit
def log_of_at_least_one(x, integer_bits):
    """Natural logarithm of x >= 1 with `integer_bits` integer bits; the result has 5.

    x is r * 2^n for two choices of n a half apart, of which one has r close to sqrt(sqrt(1/2));
    around that a rational function gives log(r).
    """
    root, half_root = 1518500250, 1805811301  # 2^(-1/2), 2^(-1/4)
    quarter = 1 << 23  # of 6 integer bits, as all sums below
    zeros = leading_zeros(x)
    first = saturating_left_shift(x, zeros - 1)
    first = saturating_left_shift(saturating_rounding_doubling_high_mul(first, root), 1)
    first_power = ((integer_bits - zeros) << 25) + quarter
    headroom = leading_zeros(saturating_rounding_doubling_high_mul(x, root)) - 1
    second = saturating_left_shift(x, headroom)
    second_power = ((integer_bits - headroom) << 25) - quarter
    r, power = min(first, second), max(first_power, second_power)
    middle = (r + half_root + 1) >> 1
    q = 2 * (r - half_root)
    square = saturating_rounding_doubling_high_mul(q, q)
    cube = saturating_rounding_doubling_high_mul(q, square)
    top = saturating_rounding_doubling_high_mul(q, r)
    top += saturating_rounding_doubling_high_mul(cube, 117049297)
    bottom = 1057819769 + q + saturating_rounding_doubling_high_mul(127690142, square)
    bottom = saturating_rounding_doubling_high_mul(middle, bottom)
    bottom += saturating_rounding_doubling_high_mul(638450708, q)
    inverse = one_over_one_plus_x(bottom)
    log_r = saturating_rounding_doubling_high_mul(rounding_divide_by_pot(top, 6), inverse)
    log_power = saturating_rounding_doubling_high_mul(power, 1488522236)  # log 2
    return saturating_left_shift(log_power + log_r, 1)


def calculate_input_radius(integer_bits: int, left_shift: int, total_bits: int = 31) -> int:
    """Inputs of at least this magnitude saturate; 0 <= left_shift < 63."""
    largest = ((1 << integer_bits) - 1) * (1 << (total_bits - integer_bits))
    return math.floor(largest / (1 << left_shift))


def checked_log2(x: float) -> tuple[int, bool]:
    """(nearest integer of log2(x), whether x is a power of two up to 0.1 %), in float32."""
    log2 = f32(f32(math.log(x)) * f32(1 / f32(math.log(2.0))))
    nearest = math.floor(abs(log2) + 0.5) * (1 if log2 >= 0 else -1)
    return nearest, abs(f32(log2 - nearest)) < f32(1e-3)


@functools.cache
def sigmoid_table() -> np.ndarray:
    """65536 * sigmoid(i / 24) for i from 0 to 255, as int64.

    Each entry is raised by half of what the chord to its neighbours misses, so that interpolating
    between entries errs evenly to both sides.
    """
    values = [65536 / (1 + math.exp(-i / 24)) for i in range(-1, 257)]
    table = [
        math.floor(y + (2 * y - before - after) / 16 + 0.5)
        for before, y, after in zip(values, values[1:], values[2:], strict=False)
    ]
    table[255] = 65535
    return np.array(table, np.int64)
