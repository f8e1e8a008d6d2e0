"""FFT of real values as KISS FFT v130 computes it: int16 and int32 in fixed point, or float32.

int16 has kernels of its own, see `_kiss_fft_int16.py`.

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

from refmicro.ops import _kiss_fft_int16
from refmicro.ops._spec import Step, run_steps
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
    wide = np.int64

    def narrow(self, x: np.ndarray) -> np.ndarray:
        """What is left when C++ stores the value in `bits` bits."""
        up = 64 - self.bits
        return (x << up) >> up

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """A product without its fraction, to the nearest; `x` is overwritten."""
        x += 1 << (self.bits - 2)
        x >>= self.bits - 1
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
        reciprocal = (2 ** (self.bits - 1) - 1) // divisor
        return self.rounded(a[0] * reciprocal), self.rounded(a[1] * reciprocal)

    def halved(self, x: np.ndarray) -> np.ndarray:
        """Sums are halved after they have wrapped around."""
        return self.narrow(x) >> 1

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

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Roots and factors as the int16 kernels take them."""
        parts = zip(self.twiddles, self.super_twiddles, strict=True)
        roots = np.stack([np.concatenate(part) for part in parts])
        return roots.astype(np.int16), np.array(self.factors[::-1], np.int64)

    def int16_step(self, values: np.ndarray, out: np.ndarray) -> Step:
        """The call that does what `forward` or `backward` do, for int16 values of shape (B, n)."""
        block = max(1, min(len(out), _kiss_fft_int16.BLOCK))
        work = np.empty((2, 2, block * (self.half + 1)), np.int16)
        kernel = _kiss_fft_int16.backward if self.inverse else _kiss_fft_int16.forward
        return kernel.ready, (values, *self._tables, work, out)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """`kiss_fftr`: (B, n) real values, of which those up to `length` are 0, to (B, half + 1, 2)
        complex ones."""
        out = np.empty((len(values), self.half + 1, 2), values.dtype)
        if self.dtype is DType.INT16:
            run_steps([self.int16_step(values, out.reshape(len(values), -1))])
            return out
        padded = np.zeros((len(values), self.length), self.arithmetic.wide)
        padded[:, : values.shape[1]] = values
        for start in range(0, len(values), _ROWS):
            rows = slice(start, start + _ROWS)
            out[rows] = self._forward(np.ascontiguousarray(padded[rows].T)).T
        return out

    def _forward(self, wide: np.ndarray) -> np.ndarray:
        """(length, rows) to (2, half + 1, rows)."""
        math_ = self.arithmetic
        z = self.complex_fft((wide[0::2], wide[1::2]))
        out = np.zeros((2, self.half + 1, wide.shape[1]), math_.wide)
        first = math_.divided((z[0][0], z[1][0]), 2)
        out[0, 0] = math_.narrow(first[0] + first[1])
        out[0, self.half] = math_.narrow(first[0] - first[1])
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
        if self.dtype is DType.INT16:
            run_steps([self.int16_step(values.reshape(len(values), -1), out)])
            return out
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
