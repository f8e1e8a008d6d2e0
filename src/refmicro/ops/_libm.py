"""float32 functions of the C library that TFLM calls: `expf`, `expm1f` and `tanhf`.

A library is free to choose the last bit of these. Here every function follows the algorithm that
glibc has (2.28 to 2.40), step by step and in the same widths, so that results do not depend on the
machine that runs refmicro and agree with TFLM on Linux. Other libraries (newlib on a
microcontroller, glibc from 2.41 on for `expm1f` and `tanhf`) may differ in the last place, and
`expf` itself may where the library was built with fused multiply-add: about one argument in 10^8.

All functions take and return float32 arrays.
Source: `math/expf.c` of Arm's optimized-routines, `s_expm1f.c` and `s_tanhf.c` of fdlibm.
"""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext

import numpy as np

_EXP_STEPS = 32
"""Steps of the table of powers of two, to an octave."""

_EXP_POLYNOMIAL = (
    float.fromhex("0x1.c6af84b912394p-5"),
    float.fromhex("0x1.ebfce50fac4f3p-3"),
    float.fromhex("0x1.62e42ff0c52d6p-1"),
)
"""Cubic of 2^r near 0, highest power first, without its constant 1."""

_EXP_OVERFLOW = np.float32(float.fromhex("0x1.62e42ep6"))
_EXP_UNDERFLOW = np.float32(float.fromhex("-0x1.9fe368p6"))


@functools.cache
def _powers_of_two() -> np.ndarray:
    """2^(i / 32) rounded to double, for i from 0 to 31."""
    with localcontext() as context:
        context.prec = 40
        powers = [Decimal(2) ** (Decimal(i) / _EXP_STEPS) for i in range(_EXP_STEPS)]
    return np.array([float(power) for power in powers])


def expf(x: np.ndarray) -> np.ndarray:
    """e^x, computed in double and rounded once."""
    x = np.asarray(x, np.float32)
    cubic, square, linear = (
        c / _EXP_STEPS**power for c, power in zip(_EXP_POLYNOMIAL, (3, 2, 1), strict=True)
    )
    with np.errstate(all="ignore"):
        # Arguments outside are answered below; here they only must not spoil the exponent.
        inside = np.where(np.abs(x) < 110, x, np.float32(0)).astype(np.float64)
        scaled = inside * (float.fromhex("0x1.71547652b82fep+0") * _EXP_STEPS)
        steps = np.rint(scaled)
        r = scaled - steps
        index = steps.astype(np.int64)
        scale = np.ldexp(_powers_of_two()[index % _EXP_STEPS], index // _EXP_STEPS)
        y = (cubic * r + square) * (r * r) + (linear * r + 1.0)
        y = (y * scale).astype(np.float32)
        y = np.where(x > _EXP_OVERFLOW, np.float32(np.inf), y)
        y = np.where(x < _EXP_UNDERFLOW, np.float32(0), y)
        return np.where(np.isnan(x), x, y)


_LN2_HIGH = np.float32(6.9313812256e-01)
_LN2_LOW = np.float32(9.0580006145e-06)
_INVERSE_LN2 = np.float32(1.4426950216e00)
_EXPM1_POLYNOMIAL = tuple(
    np.float32(q)
    for q in (
        -3.3333335072e-02,
        1.5873016091e-03,
        -7.9365076090e-05,
        4.0082177293e-06,
        -2.0109921195e-07,
    )
)


def expm1f(x: np.ndarray) -> np.ndarray:
    """e^x - 1, computed in float32 throughout."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        low_end = x < -_word(0x4195B844)  # -27 ln 2
        high_end = x >= _word(0x42B17218)  # 88.72
        usual = np.where(np.isfinite(x) & ~high_end & ~low_end, x, np.float32(0))
        y = _expm1_usual(usual)
        y = np.where(magnitude < _word(0x33000000), x, y)  # below 2^-25 it is its argument
        y = np.where(high_end, np.float32(np.inf), y)
        y = np.where(low_end | (x == -_word(0x4195B844)), np.float32(-1), y)
        return np.where(np.isnan(x), x, y)


def _word(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


def _expm1_reduce(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(k, remainder, correction) with x = k ln 2 + remainder, the remainder in 0.5 ln 2."""
    magnitude = np.abs(x)
    sign = np.where(np.signbit(x), np.float32(-1), np.float32(1))
    near = magnitude < _word(0x3F851592)  # 1.5 ln 2
    k = np.where(near, sign, np.trunc(_INVERSE_LN2 * x + sign * np.float32(0.5)))
    k = np.where(magnitude > _word(0x3EB17218), k, np.float32(0))  # 0.5 ln 2
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    remainder = high - low
    correction = (high - remainder) - low
    return k.astype(np.int32), remainder, correction


def _expm1_usual(x: np.ndarray) -> np.ndarray:
    one, half = np.float32(1), np.float32(0.5)
    k, x, c = _expm1_reduce(x)
    half_x = half * x
    half_square = x * half_x
    r = _EXPM1_POLYNOMIAL[-1]
    for q in reversed(_EXPM1_POLYNOMIAL[:-1]):
        r = q + half_square * r
    r = one + half_square * r
    t = np.float32(3) - r * half_x
    e = half_square * ((r - t) / (np.float32(6) - x * t))
    at_zero = x - (x * e - half_square)
    e = (x * (e - c) - c) - half_square
    at_minus_one = half * (x - e) - half
    at_one = np.where(
        x < np.float32(-0.25), np.float32(-2) * (e - (x + half)), one + np.float32(2) * (x - e)
    )
    wide = _scale(one - (e - x), k) - one
    small = np.clip(k, 0, 30)
    below = _scale((one - np.ldexp(one, -small)) - (e - x), k)
    above = _scale((x - (e + np.ldexp(one, -np.clip(k, 0, 120)))) + one, k)
    y = np.where((k <= -2) | (k > 56), wide, np.where(k < 23, below, above))
    y = np.where(k == 1, at_one, y)
    y = np.where(k == -1, at_minus_one, y)
    return np.where(k == 0, at_zero, y).astype(np.float32)


def _scale(y: np.ndarray, k: np.ndarray) -> np.ndarray:
    """y * 2^k by adding to the exponent bits."""
    bits = np.ascontiguousarray(y, np.float32).view(np.int32)
    return (bits + (k.astype(np.int32) << 23)).view(np.float32)


def tanhf(x: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent from `expm1f`, in float32 throughout."""
    x = np.asarray(x, np.float32)
    one, two = np.float32(1), np.float32(2)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        large = magnitude >= one
        doubled = np.where(magnitude < 22, two * magnitude, np.float32(0))
        t = expm1f(np.where(large, doubled, -doubled))
        z = np.where(large, one - two / (t + two), -t / (t + two))
        z = np.where(magnitude >= 22, one, z)
        z = np.copysign(z, x)
        z = np.where(magnitude < _word(0x24000000), x * (one + x), z)
        return np.where(np.isnan(x) | (x == 0), x, z).astype(np.float32)
