"""Every rounding rule of TFLM, once.

Scalars come in as Python integers or, inside a compiled kernel, as int64; every result fits the
width that TFLM keeps it in. Arithmetic that TFLM leaves undefined (signed overflow) is outside the
promise: `prepare` of an operator proves that it does not happen, or the docstring says what this
platform's build of TFLM does.

Sources: `tensorflow/lite/kernels/internal/common.{h,cc}`, `quantization_util.cc` beside it, and
gemmlowp's `fixedpoint/fixedpoint.h`. All rules are of a build without TFLITE_SINGLE_ROUNDING, as
the pinned wheel and TFLM's own makefiles are.
"""

from __future__ import annotations

import math

import numpy as np

from refmicro._jit import jit

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1
INT16_MIN = -(2**15)
INT16_MAX = 2**15 - 1


def round_half_away(value: float) -> int:
    """Nearest integer, halves away from zero: C's `round`, TFLM's `TfLiteRound`."""
    floor = math.floor(value)
    fraction = value - floor
    if fraction > 0.5 or (fraction == 0.5 and value > 0):
        return floor + 1
    return floor


def f32(value: float) -> float:
    """`value` rounded once to float32, as a Python float; infinite where it is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real close to multiplier * 2^(shift - 31); shift > 0 is left.

    The multiplier is 0 or in [2^30, 2^31). Multipliers below 2^-32 become 0.
    Source: `QuantizeMultiplier` in `tensorflow/lite/kernels/internal/quantization_util.cc`.

    Raises:
        ValueError: if `real` is infinite or not a number.
    """
    if real == 0.0:
        return 0, 0
    if not math.isfinite(real):
        raise ValueError(f"a multiplier must be finite: {real}")
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * (1 << 31))
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


@jit(inline=True)
def saturating_rounding_doubling_high_mul(a, b):
    """High 32 bits of 2*a*b, rounded half away from zero; INT32_MIN squared saturates.

    Source: gemmlowp `SaturatingRoundingDoublingHighMul` (it divides, so it truncates towards 0).
    """
    if a == -2147483648 and b == -2147483648:
        return 2147483647
    product = a * b
    # Truncating division of (product + nudge) by 2^31, where the nudge has the product's sign.
    if product >= 0:
        return (product + 1073741824) >> 31
    return -((-product + 1073741823) >> 31)


@jit(inline=True)
def rounding_divide_by_pot(x, exponent):
    """x / 2^exponent, rounded half away from zero. Source: gemmlowp `RoundingDivideByPOT`."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = mask >> 1
    if x < 0:
        threshold += 1
    result = x >> exponent
    if remainder > threshold:
        result += 1
    return result


@jit(inline=True)
def multiply_by_quantized_multiplier(x, multiplier, shift):
    """An int32 `x` times multiplier * 2^(shift - 31), rounded twice as TFLM does.

    A left shift that overflows int32 wraps, as the machine's shift does in TFLM's builds.
    Source: the int32 overload of `MultiplyByQuantizedMultiplier` in
    `tensorflow/lite/kernels/internal/common.cc`.
    """
    if shift > 0:
        x = x << shift
        x = ((x + 2147483648) & 4294967295) - 2147483648
        return saturating_rounding_doubling_high_mul(x, multiplier)
    return multiply_below_one(x, multiplier, shift)


@jit(inline=True)
def multiply_below_one(x, multiplier, shift):
    """The same for a shift in -31..0 and a multiplier above -2^31.

    The rounded high product, divided by a power of two and rounded again, is one sum in units of
    the product: `docs/decisions/0003-proven-float-requantisation.md` derives it. Nothing here
    passes 2^63.
    Source: `MultiplyByQuantizedMultiplierSmallerThanOneExp` in `common.h` beside it.
    """
    product = x * multiplier
    if shift == 0:
        return (product + 1073741824) >> 31
    right = 31 - shift
    nudge = 1073741824 + (1 << (right - 1))
    if product < 0:
        nudge -= 2147483648
    return (product + nudge) >> right


@jit(inline=True)
def multiply_int64_by_quantized_multiplier(x, multiplier, shift):
    """An int64 `x` below 2^47 times multiplier * 2^(shift - 31): a 16-bit multiplier, one rounding.

    The result is cut to int32. Source: the int64 overload of `MultiplyByQuantizedMultiplier`.
    """
    reduced = (multiplier + 32768) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    total_shift = 15 - shift
    result = (x * reduced + (1 << (total_shift - 1))) >> total_shift
    return ((result + 2147483648) & 4294967295) - 2147483648


@jit(inline=True)
def clamp(x, low, high):
    """`x` limited to low..high."""
    return min(max(x, low), high)


@jit(inline=True)
def saturating_left_shift(x, shift):
    """x * 2^shift, saturated to int32. Source: gemmlowp `SaturatingRoundingMultiplyByPOT`."""
    return clamp(x << shift, -2147483648, 2147483647)


@jit
def multiply_array(x, multiplier, shift, out):
    """`multiply_by_quantized_multiplier` of each element of the flat int64 array `x`."""
    for i in range(x.size):
        out[i] = multiply_by_quantized_multiplier(x[i], multiplier, shift)
