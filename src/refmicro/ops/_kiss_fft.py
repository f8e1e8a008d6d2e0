"""FFT of real values as KISS FFT v130 computes it: int16 and int32 in fixed point, or float32.

A real FFT of 2n values is a complex FFT of n values, whose results are then separated. The complex
FFT takes out factors 4, 2, 3 and 5, the last of them first; in fixed point every stage first
divides by its factor so that nothing overflows, and rounds each product.

Inside, values are arrays of shape (..., rows) in pairs, real part and imaginary part: one step of
all rows is one loop over memory that lies together.
Source: `kiss_fft.c`, `_kiss_fft_guts.h` and `tools/kiss_fftr.c` of KISS FFT, with TFLM's
`third_party/kissfft/kissfft.patch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.types import Abi, DType, TflmBuild

Pair = tuple[np.ndarray, np.ndarray]

_ROWS = 64
"""Rows that are transformed together, so that they stay in the cache."""


@dataclass(frozen=True)
class Fixed:
    """Fixed point of `bits` bits; intermediate values are held in `wide`, where products fit.

    C++ stores every step in `bits` bits. Sums may wrap around there, but only what is multiplied or
    shifted next needs to be wrapped here, and what was divided before a product stays inside.
    """

    bits: int

    @property
    def wide(self) -> type:
        """int32 holds two products of int16 values, int64 those of int32."""
        return np.int32 if self.bits == 16 else np.int64

    def narrow(self, x: np.ndarray) -> np.ndarray:
        """What is left when C++ stores the value in `bits` bits."""
        up = self.wide(np.dtype(self.wide).itemsize * 8 - self.bits)
        return (x << up) >> up

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """A product without its fraction, to the nearest; `x` is overwritten."""
        fraction = self.bits - 1
        x += self.wide(1 << (fraction - 1))
        x >>= self.wide(fraction)
        return x

    def times(self, a: Pair, b: Pair) -> Pair:
        """Complex product, each part rounded once."""
        return (
            self.rounded(a[0] * b[0] - a[1] * b[1]),
            self.rounded(a[0] * b[1] + a[1] * b[0]),
        )

    def scaled(self, x: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Product with a real number."""
        return self.rounded(x * factor)

    def divided(self, a: Pair, divisor: int) -> Pair:
        """A product with the truncated reciprocal."""
        reciprocal = self.wide((2 ** (self.bits - 1) - 1) // divisor)
        return self.rounded(a[0] * reciprocal), self.rounded(a[1] * reciprocal)

    def halved(self, x: np.ndarray) -> np.ndarray:
        """int16 sums are halved as int, int32 sums after they have wrapped around."""
        return (x if self.bits == 16 else self.narrow(x)) >> self.wide(1)

    def root(self, phase: float) -> tuple[float, float]:
        """A root of unity, rounded to the nearest, halves up."""
        most = 2 ** (self.bits - 1) - 1
        return math.floor(0.5 + most * math.cos(phase)), math.floor(0.5 + most * math.sin(phase))


@dataclass(frozen=True)
class Float:
    """float32 at every step; nothing is divided on the way."""

    wide = np.float32

    def narrow(self, x: np.ndarray) -> np.ndarray:
        return x

    def times(self, a: Pair, b: Pair) -> Pair:
        return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]

    def scaled(self, x: np.ndarray, factor: np.ndarray) -> np.ndarray:
        return x * factor

    def divided(self, a: Pair, divisor: int) -> Pair:
        return a

    def halved(self, x: np.ndarray) -> np.ndarray:
        return x * np.float32(0.5)

    def root(self, phase: float) -> tuple[float, float]:
        return math.cos(phase), math.sin(phase)


_ARITHMETIC = {DType.INT16: Fixed(16), DType.INT32: Fixed(32), DType.FLOAT32: Float()}


def factors_of(n: int) -> tuple[int, ...]:
    """`kf_factor`: fours, twos, odd numbers; what is above the square root of `n` stays whole."""
    factors, p, root = [], 4, math.isqrt(n)
    while n > 1:
        while n % p:
            p = {4: 2, 2: 3}.get(p, p + 2)
            if p > root:
                p = n
        n //= p
        factors.append(p)
    return tuple(factors)


def is_supported(length: int) -> bool:
    """Whether TFLM can transform so many real values: other factors need memory it cannot get."""
    if length < 4 or length % 2:
        return False
    return set(factors_of(length // 2)) <= {2, 3, 4, 5}


def state_bytes(build: TflmBuild, dtype: DType, length: int) -> int:
    """Memory of `kiss_fftr_alloc`: two structs, twiddles, work area."""
    value = 2 * dtype.itemsize_bytes
    half = length // 2
    plan = 66 * 4 + value + value * (half - 1)
    pointers = 3 * (8 if build.abi is Abi.LP64 else 4)
    return pointers + plan + value * (half * 3 // 2)


@dataclass(frozen=True)
class RealFft:
    """An FFT of `length` real values, or its inverse."""

    dtype: DType
    length: int
    inverse: bool

    @property
    def half(self) -> int:
        """Length of the complex FFT."""
        return self.length // 2

    @property
    def arithmetic(self) -> Fixed | Float:
        """How numbers of this type are computed with."""
        return _ARITHMETIC[self.dtype]

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """Factors from the outermost stage to the innermost."""
        return factors_of(self.half)

    def _roots(self, phases: list[float]) -> Pair:
        sign = -1 if self.inverse else 1
        roots = np.array([self.arithmetic.root(sign * phase) for phase in phases])
        return roots[:, 0].astype(self.arithmetic.wide), roots[:, 1].astype(self.arithmetic.wide)

    @cached_property
    def twiddles(self) -> Pair:
        """Roots of the complex FFT."""
        return self._roots([-2 * math.pi * i / self.half for i in range(self.half)])

    @cached_property
    def super_twiddles(self) -> Pair:
        """Roots that separate the two real halves."""
        return self._roots([-math.pi * ((i + 1) / self.half + 0.5) for i in range(self.half // 2)])

    @cached_property
    def order(self) -> np.ndarray:
        """Which input stands where before the first stage."""
        order = np.zeros(1, np.int64)
        step = self.half
        for factor in reversed(self.factors):
            step //= factor
            order = (order[None, :] + np.arange(factor)[:, None] * step).reshape(-1)
        return order

    def complex_fft(self, values: Pair) -> Pair:
        """`kiss_fft` of (half, rows) values."""
        re, im = values[0][self.order], values[1][self.order]
        inner, outer = 1, self.half
        for factor in reversed(self.factors):
            outer //= factor
            if self.dtype is DType.INT16 and factor in _INT16_STAGES:
                _INT16_STAGES[factor](re, im, *self.twiddles, outer, inner, self.inverse)
                inner *= factor
                continue
            shape = (outer, factor, inner, re.shape[1])
            butterfly = {2: _butterfly2, 3: _butterfly3, 4: _butterfly4, 5: _butterfly5}[factor]
            legs = [(re.reshape(shape)[:, i], im.reshape(shape)[:, i]) for i in range(factor)]
            legs = [self.arithmetic.divided(leg, factor) for leg in legs]
            turned = [
                self.arithmetic.times(leg, self._twiddle(np.arange(inner) * outer * i))
                for i, leg in enumerate(legs)
                if i
            ]
            out = butterfly(self, legs[0], turned, outer * inner)
            re, im = (
                self.arithmetic.narrow(np.stack([leg[part] for leg in out], axis=1)).reshape(
                    self.half, -1
                )
                for part in (0, 1)
            )
            inner *= factor
        return re, im

    def _twiddle(self, index: np.ndarray) -> Pair:
        return self.twiddles[0][index, None], self.twiddles[1][index, None]

    def forward(self, values: np.ndarray) -> np.ndarray:
        """`kiss_fftr`: (B, length) real values to (B, half + 1, 2) complex ones."""
        out = np.empty((len(values), self.half + 1, 2), values.dtype)
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            out[rows] = self._forward(values[rows].T.astype(self.arithmetic.wide)).T
        return out

    def _forward(self, wide: np.ndarray) -> np.ndarray:
        """(length, rows) to (2, half + 1, rows)."""
        math_ = self.arithmetic
        z = self.complex_fft((wide[0::2], wide[1::2]))
        out = np.zeros((2, self.half + 1, wide.shape[1]), math_.wide)
        first = math_.divided((z[0][0], z[1][0]), 2)
        out[0, 0] = math_.narrow(first[0] + first[1])
        out[0, self.half] = math_.narrow(first[0] - first[1])
        if self.dtype is DType.INT16:
            _separate_int16(*z, *self.super_twiddles, out)
            return out
        k = np.arange(1, self.half // 2 + 1)
        low = math_.divided((z[0][k], z[1][k]), 2)
        high = (z[0][self.half - k], math_.narrow(-z[1][self.half - k]))
        high = math_.divided(high, 2)
        even, odd = self._separated(low, high)
        # Where both name the middle, C++ writes the second over the first.
        out[0, k] = math_.halved(even[0] + odd[0])
        out[1, k] = math_.halved(even[1] + odd[1])
        out[0, self.half - k] = math_.halved(even[0] - odd[0])
        out[1, self.half - k] = math_.halved(odd[1] - even[1])
        return out

    def _separated(self, low: Pair, high: Pair) -> tuple[Pair, Pair]:
        """Sum, and turned difference, of a frequency and its mirror image, both halved before."""
        turned = self.arithmetic.times(
            _sub(low, high), tuple(part[:, None] for part in self.super_twiddles)
        )
        return _add(low, high), tuple(self.arithmetic.narrow(part) for part in turned)

    def backward(self, values: np.ndarray) -> np.ndarray:
        """`kiss_fftri`: (B, half + 1, 2) complex values to (B, length) real ones."""
        out = np.empty((len(values), self.length), values.dtype)
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            wide = values[rows].T.astype(self.arithmetic.wide)
            re, im = self._backward(wide[0], wide[1])
            out[rows, 0::2], out[rows, 1::2] = re.T, im.T
        return out

    def _backward(self, re: np.ndarray, im: np.ndarray) -> Pair:
        """(half + 1, rows) to the values with even and those with odd places, (half, rows)."""
        math_ = self.arithmetic
        z = np.empty((2, self.half, re.shape[1]), math_.wide)
        z[0][0], z[1][0] = math_.divided(
            (math_.narrow(re[0] + re[self.half]), math_.narrow(re[0] - re[self.half])), 2
        )
        k = np.arange(1, self.half // 2 + 1)
        low = math_.divided((re[k], im[k]), 2)
        high = (re[self.half - k], math_.narrow(-im[self.half - k]))
        high = math_.divided(high, 2)
        even, odd = self._separated(low, high)
        z[0][k], z[1][k] = (math_.narrow(part) for part in _add(even, odd))
        mirrored = tuple(math_.narrow(part) for part in _sub(even, odd))
        z[0][self.half - k], z[1][self.half - k] = mirrored[0], math_.narrow(-mirrored[1])
        return self.complex_fft((z[0], z[1]))


def _add(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


def _sub(a: Pair, b: Pair) -> Pair:
    return a[0] - b[0], a[1] - b[1]


def _butterfly2(fft: RealFft, first: Pair, turned: list[Pair], _: int) -> list[Pair]:
    return [_add(first, turned[0]), _sub(first, turned[0])]


def _butterfly4(fft: RealFft, first: Pair, turned: list[Pair], _: int) -> list[Pair]:
    minus, plus = _sub(first, turned[1]), _add(first, turned[1])
    both, gap = _add(turned[0], turned[2]), _sub(turned[0], turned[2])
    right = (minus[0] + gap[1], minus[1] - gap[0])
    left = (minus[0] - gap[1], minus[1] + gap[0])
    if fft.inverse:
        right, left = left, right
    return [_add(plus, both), right, _sub(plus, both), left]


def _butterfly3(fft: RealFft, first: Pair, turned: list[Pair], stride: int) -> list[Pair]:
    math_ = fft.arithmetic
    both, gap = _add(*turned), _sub(*turned)
    middle = _sub(first, (math_.halved(both[0]), math_.halved(both[1])))
    factor = fft.twiddles[1][stride]
    gap = (math_.scaled(gap[0], factor), math_.scaled(gap[1], factor))
    return [
        _add(first, both),
        (middle[0] - gap[1], middle[1] + gap[0]),
        (middle[0] + gap[1], middle[1] - gap[0]),
    ]


def _butterfly5(fft: RealFft, first: Pair, turned: list[Pair], stride: int) -> list[Pair]:
    scaled = fft.arithmetic.scaled
    outer, outer_gap = _add(turned[0], turned[3]), _sub(turned[0], turned[3])
    inner, inner_gap = _add(turned[1], turned[2]), _sub(turned[1], turned[2])
    a_re, a_im = fft.twiddles[0][stride], fft.twiddles[1][stride]
    b_re, b_im = fft.twiddles[0][2 * stride], fft.twiddles[1][2 * stride]
    zero = tuple(first[i] + (outer[i] + inner[i]) for i in (0, 1))
    near = tuple(first[i] + scaled(outer[i], a_re) + scaled(inner[i], b_re) for i in (0, 1))
    near_turn = (
        scaled(outer_gap[1], a_im) + scaled(inner_gap[1], b_im),
        -scaled(outer_gap[0], a_im) - scaled(inner_gap[0], b_im),
    )
    far = tuple(first[i] + scaled(outer[i], b_re) + scaled(inner[i], a_re) for i in (0, 1))
    far_turn = (
        -scaled(outer_gap[1], b_im) + scaled(inner_gap[1], a_im),
        scaled(outer_gap[0], b_im) - scaled(inner_gap[0], a_im),
    )
    return [
        zero,
        _sub(near, near_turn),
        _add(far, far_turn),
        _sub(far, far_turn),
        _add(near, near_turn),
    ]


@jit(inline=True)
def _quarter(x):
    return np.int32(np.int32(x * 8191 + 16384) >> 15)


@jit(inline=True)
def _half(x):
    return np.int32(np.int32(x * 16383 + 16384) >> 15)


@jit(inline=True)
def _product(a, b, c, d):
    """a * b + c * d, rounded."""
    return np.int32(np.int32(a * b + c * d + 16384) >> 15)


@jit(inline=True)
def _narrow(x):
    return np.int32(np.int16(x))


@jit
def _stage4_int16(re, im, root_re, root_im, outer, inner, inverse):
    """`kf_bfly4` of all rows, in place; what the general stage does, in one walk over memory."""
    for place in range(outer * inner):
        column = place % inner
        at = (place // inner) * 4 * inner + column
        step = column * outer
        re_1, im_1 = root_re[step], root_im[step]
        re_2, im_2 = root_re[2 * step], root_im[2 * step]
        re_3, im_3 = root_re[3 * step], root_im[3 * step]
        for row in range(re.shape[1]):
            a_re, a_im = _quarter(re[at, row]), _quarter(im[at, row])
            x, y = _quarter(re[at + inner, row]), _quarter(im[at + inner, row])
            b_re, b_im = _product(x, re_1, -y, im_1), _product(x, im_1, y, re_1)
            x, y = _quarter(re[at + 2 * inner, row]), _quarter(im[at + 2 * inner, row])
            c_re, c_im = _product(x, re_2, -y, im_2), _product(x, im_2, y, re_2)
            x, y = _quarter(re[at + 3 * inner, row]), _quarter(im[at + 3 * inner, row])
            d_re, d_im = _product(x, re_3, -y, im_3), _product(x, im_3, y, re_3)
            gap_re, gap_im = b_re - d_re, b_im - d_im
            if inverse:
                gap_re, gap_im = -gap_re, -gap_im
            re[at, row] = _narrow(a_re + c_re + b_re + d_re)
            im[at, row] = _narrow(a_im + c_im + b_im + d_im)
            re[at + inner, row] = _narrow(a_re - c_re + gap_im)
            im[at + inner, row] = _narrow(a_im - c_im - gap_re)
            re[at + 2 * inner, row] = _narrow(a_re + c_re - b_re - d_re)
            im[at + 2 * inner, row] = _narrow(a_im + c_im - b_im - d_im)
            re[at + 3 * inner, row] = _narrow(a_re - c_re - gap_im)
            im[at + 3 * inner, row] = _narrow(a_im - c_im + gap_re)


@jit
def _stage2_int16(re, im, root_re, root_im, outer, inner, inverse):
    """`kf_bfly2` of all rows, in place."""
    for place in range(outer * inner):
        column = place % inner
        at = (place // inner) * 2 * inner + column
        turn_re, turn_im = root_re[column * outer], root_im[column * outer]
        for row in range(re.shape[1]):
            a_re, a_im = _half(re[at, row]), _half(im[at, row])
            x, y = _half(re[at + inner, row]), _half(im[at + inner, row])
            b_re, b_im = _product(x, turn_re, -y, turn_im), _product(x, turn_im, y, turn_re)
            re[at, row], im[at, row] = _narrow(a_re + b_re), _narrow(a_im + b_im)
            re[at + inner, row] = _narrow(a_re - b_re)
            im[at + inner, row] = _narrow(a_im - b_im)


@jit
def _separate_int16(re, im, root_re, root_im, out):
    """What `_forward` does for all frequencies but the first and the last, in one walk."""
    half = re.shape[0]
    for k in range(1, half // 2 + 1):
        turn_re, turn_im = root_re[k - 1], root_im[k - 1]
        for row in range(re.shape[1]):
            low_re, low_im = _half(re[k, row]), _half(im[k, row])
            high_re, high_im = _half(re[half - k, row]), _half(_narrow(-im[half - k, row]))
            x, y = low_re - high_re, low_im - high_im
            odd_re = _narrow(_product(x, turn_re, -y, turn_im))
            odd_im = _narrow(_product(x, turn_im, y, turn_re))
            even_re, even_im = low_re + high_re, low_im + high_im
            out[0, k, row] = (even_re + odd_re) >> 1
            out[1, k, row] = (even_im + odd_im) >> 1
            out[0, half - k, row] = (even_re - odd_re) >> 1
            out[1, half - k, row] = (odd_im - even_im) >> 1


_INT16_STAGES = {2: _stage2_int16, 4: _stage4_int16}
