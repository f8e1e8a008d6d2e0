"""float32 functions of the C library that TFLM calls: `expf`, `logf`, `sinf`, `expm1f`, ...

A library is free to choose the last bit of these. Here every function follows the algorithm that
glibc has (2.28 to 2.40), step by step and in the same widths, so that results do not depend on the
machine that runs refmicro and agree with TFLM on Linux. Other libraries (newlib on a
microcontroller, glibc from 2.41 on for `expm1f` and `tanhf`) may differ in the last place. The
functions that compute in double differ for about one argument in 10^8 even there, because glibc
has a second build of them with fused multiply-add.

All functions take and return float32 arrays.
Source: `math/{expf,logf,sinf,cosf}.c` of Arm's optimized-routines, `s_expm1f.c` and `s_tanhf.c` of
fdlibm.
"""

from __future__ import annotations

import functools

import numpy as np

from refmicro._jit import jit

_EXP_STEPS = 32
"""Steps of the table of powers of two, to an octave."""

_EXP_POLYNOMIAL = (
    float.fromhex("0x1.c6af84b912394p-5"),
    float.fromhex("0x1.ebfce50fac4f3p-3"),
    float.fromhex("0x1.62e42ff0c52d6p-1"),
)
"""Cubic of 2^r near 0, highest power first, without its constant 1."""

_EXP_OVERFLOW = float.fromhex("0x1.62e42ep6")
_EXP_UNDERFLOW = float.fromhex("-0x1.9fe368p6")
_OCTAVES = 160
"""Powers of two on either side that float32 results are made of."""


@functools.cache
def _powers_of_two() -> np.ndarray:
    """2^(i / 32) rounded to double, for i from 0 to 31."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 40
        powers = [Decimal(2) ** (Decimal(i) / _EXP_STEPS) for i in range(_EXP_STEPS)]
    return np.array([float(power) for power in powers])


@functools.cache
def _octaves() -> np.ndarray:
    """2^k for k from -160 to 159."""
    return np.ldexp(1.0, np.arange(-_OCTAVES, _OCTAVES))


def expf(x: np.ndarray) -> np.ndarray:
    """e^x, computed in double and rounded once."""
    x = np.ascontiguousarray(x, np.float32)
    polynomial = (c / _EXP_STEPS**n for c, n in zip(_EXP_POLYNOMIAL, (3, 2, 1), strict=True))
    steps_of_one = float.fromhex("0x1.71547652b82fep+0") * _EXP_STEPS  # 32 / ln 2
    out = np.empty(x.shape, np.float32)
    with np.errstate(under="ignore"):
        _exp(
            x.reshape(-1),
            _powers_of_two(),
            _octaves(),
            steps_of_one,
            *polynomial,
            out.reshape(-1),
        )
    return out


@jit
def _exp(x, powers, octaves, steps_of_one, cubic, square, linear, out):
    for i in range(out.size):
        value = np.float64(x[i])
        if not value >= _EXP_UNDERFLOW:  # too small, or a NaN
            out[i] = 0.0 if value < 0 else x[i]
        elif value > _EXP_OVERFLOW:
            out[i] = np.inf
        else:
            scaled = value * steps_of_one
            steps = np.rint(scaled)
            r = scaled - steps
            index = np.int64(steps)
            scale = powers[index & 31] * octaves[(index >> 5) + _OCTAVES]
            y = (cubic * r + square) * (r * r) + (linear * r + 1.0)
            out[i] = y * scale


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


_LOG_STEPS = 16
_LOG_OFFSET = 0x3F330000
_LOG_CENTRES = np.array(
    [
        float.fromhex(inverse)
        for inverse in (
            "0x1.661ec79f8f3bep+0",
            "0x1.571ed4aaf883dp+0",
            "0x1.49539f0f010bp+0",
            "0x1.3c995b0b80385p+0",
            "0x1.30d190c8864a5p+0",
            "0x1.25e227b0b8eap+0",
            "0x1.1bb4a4a1a343fp+0",
            "0x1.12358f08ae5bap+0",
            "0x1.0953f419900a7p+0",
            "0x1p+0",
            "0x1.e608cfd9a47acp-1",
            "0x1.ca4b31f026aap-1",
            "0x1.b2036576afce6p-1",
            "0x1.9c2d163a1aa2dp-1",
            "0x1.886e6037841edp-1",
            "0x1.767dcf5534862p-1",
        )
    ]
)
"""Inverses of points close to the middle of each sixteenth of an octave from 0.7 on."""

_LOG_POLYNOMIAL = (
    float.fromhex("-0x1.00ea348b88334p-2"),
    float.fromhex("0x1.5575b0be00b6ap-2"),
    float.fromhex("-0x1.ffffef20a4123p-2"),
)
_INVALID = np.array(0xFFC00000, np.uint32).view(np.float32)
"""The NaN that x86 makes of an invalid operation."""


@functools.cache
def _logs_of_centres() -> np.ndarray:
    """Logarithms of the points whose inverses `_LOG_CENTRES` holds, rounded to double."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 40
        return np.array([-float(Decimal(float(c)).ln()) for c in _LOG_CENTRES])


def logf(x: np.ndarray) -> np.ndarray:
    """Natural logarithm, computed in double and rounded once."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        subnormal = x < _word(0x00800000)
        usual = np.where((x > 0) & np.isfinite(x), x, np.float32(1))
        bits = np.where(subnormal, usual * np.float32(1 << 23), usual).view(np.int32)
        above = bits.astype(np.int64) - _LOG_OFFSET
        index = (above >> 19) % _LOG_STEPS
        octave = above >> 23
        z = (bits - (octave << 23)).astype(np.int32).view(np.float32).astype(np.float64)
        octave = octave - np.where(subnormal & (usual != 1), 23, 0)
        r = z * _LOG_CENTRES[index] - 1.0
        start = _logs_of_centres()[index] + octave * float.fromhex("0x1.62e42fefa39efp-1")
        a, b, c = _LOG_POLYNOMIAL
        r2 = r * r
        y = ((a * r2 + (b * r + c)) * r2 + (start + r)).astype(np.float32)
        y = np.where(x == 0, np.float32(-np.inf), y)
        y = np.where(x == np.inf, x, y)
        return np.where(np.isnan(x), x, np.where(x < 0, _INVALID, y))


_HALF_PI = float.fromhex("0x1.921FB54442D18p0")
_TWO_OVER_PI = float.fromhex("0x1.45F306DC9C883p+23")  # times 2^24
_FOUR_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041
"""4 / pi times 2^191."""

_COSINE = tuple(
    float.fromhex(c)
    for c in (
        "0x1p0",
        "-0x1.ffffffd0c621cp-2",
        "0x1.55553e1068f19p-5",
        "-0x1.6c087e89a359dp-10",
        "0x1.99343027bf8c3p-16",
    )
)
_SINE = tuple(
    float.fromhex(c)
    for c in ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")
)


def sinf(x: np.ndarray) -> np.ndarray:
    """Sine, computed in double and rounded once."""
    return _sine(np.asarray(x, np.float32), 0)


def cosf(x: np.ndarray) -> np.ndarray:
    """Cosine, computed in double and rounded once."""
    return _sine(np.asarray(x, np.float32), 1)


def _sine(x: np.ndarray, quarter: int) -> np.ndarray:
    """The sine of x + quarter * pi / 2."""
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        finite = np.isfinite(x)
        usual = np.where(finite, x, np.float32(0))
        quadrant, r = _reduce_small(np.where(magnitude < 120, usual, np.float32(0)))
        signs = quadrant.copy()
        large = finite & (magnitude >= 120)
        if large.any():
            quadrant[large], r[large] = _reduce_large(magnitude[large])
            signs[large] = quadrant[large] + np.signbit(x[large])
        swapped = (quadrant & 1) ^ quarter
        r = np.where((signs & 3) % 3 == 0, r, -r)
        r2 = r * r
        s1, s2, s3 = _SINE
        c0, c1, c2, c3, c4 = _COSINE
        cube = r * r2
        sine = (r + cube * s1) + (cube * r2) * (s2 + r2 * s3)
        square = r2 * r2
        cosine = ((c0 + r2 * c1) + square * c2) + (square * r2) * (c3 + r2 * c4)
        cosine = np.where(signs & 2, -cosine, cosine)
        y = np.where(swapped, cosine, sine).astype(np.float32)
        tiny = magnitude < _word(0x39800000)  # 2^-12
        y = np.where(tiny, np.float32(1) if quarter else x, y)
        return np.where(np.isnan(x), x, np.where(finite, y, _INVALID))


def _reduce_small(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, x - n * pi / 2) for |x| < 120; the difference is rounded once."""
    wide = x.astype(np.float64)
    quadrant = ((wide * _TWO_OVER_PI).astype(np.int64) + 0x800000) >> 24
    quadrant = np.where(np.abs(x) < np.float32(0.75), 0, quadrant)
    product = quadrant * _HALF_PI
    high = float(np.float32(_HALF_PI))
    error = (quadrant * high - product) + quadrant * (_HALF_PI - high)
    return quadrant, (wide - product) - error


def _reduce_large(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, x - n * pi / 2) for x >= 120, from the 96 bits of 4 / pi that matter."""
    low_bits = np.uint64(0xFFFFFFFF)
    bits = x.view(np.uint32).astype(np.int64)
    words = np.array([_FOUR_OVER_PI >> (184 - 8 * i) & 0xFFFFFFFF for i in range(24)], np.uint64)
    index = (bits >> 26) & 15
    mantissa = ((bits & 0xFFFFFF) | 0x800000).astype(np.uint64)
    mantissa = (mantissa << ((bits >> 23) & 7).astype(np.uint64)) & low_bits
    total = ((mantissa * words[index]) & low_bits) << np.uint64(32)
    total |= (mantissa * words[index + 8]) >> np.uint64(32)
    total += mantissa * words[index + 4]
    quadrant = (total + np.uint64(1 << 61)) >> np.uint64(62)
    rest = (total - (quadrant << np.uint64(62))).view(np.int64)
    return quadrant.astype(np.int64), rest * float.fromhex("0x1.921FB54442D18p-62")
