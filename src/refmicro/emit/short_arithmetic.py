"""Shorter arithmetic for emitted C, proven equal to TFLM's before it is used.

TFLM requantizes with a 64-bit product and two roundings, some twelve instructions on a Cortex-M.
An operand of few bits allows

    clamp(((x * factor >> down) + addend - gap(x)) >> shift, low, high)

in few: SUB, MLA (down is 0) or SMLAWB (16, for a 16-bit x; SMULL for a longer one), and SSAT. TFLM
rounds halves away from zero, twice, so that what is added to a negative x is smaller by a `gap` of
2^k - 1, which is what the sign's copies become when the word is shifted right by 32 - k bits: no
branch and no instruction of its own.

Whether such numbers give TFLM's result for *every* x is decided here over the whole domain, not
argued. For a value q that TFLM gives to x,

    q <= (x * factor + addend) / 2^shift < q + 1

bounds the addend from both sides, unless the clamp hides that side; a factor and a shift serve
where the largest lower bound is not above the smallest upper one. The same holds for a sum of two
operands with a factor each. Smaller shifts come first: their constants are short.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_INT32 = 2**31
_MAX_SHIFT = 30

_SAMPLE = 61
"""Of the domain every 61st case is tried first: most candidates fail there already."""

_WORD_BY_HALF = 16
"""SMLAWB multiplies a word by a half word and drops the product's last 16 bits."""


class Affine(NamedTuple):
    """clamp(((x * factor >> down) + addend - gap(x)) >> shift); what is left after `>> down`, and
    all that follows, is int32.

    `down` is 0 or 16; with 16 the product has more than 32 bits. gap(x) is 2^gap_bits - 1 for a
    negative x and 0 for others: (uint32)x >> (32 - gap_bits), for |x| up to 2^(32 - gap_bits).
    """

    factor: int
    addend: int
    shift: int
    gap_bits: int = 0
    down: int = 0

    def __call__(self, x: np.ndarray, low: int, high: int) -> np.ndarray:
        """The results of an int64 array."""
        gap = (x & 0xFFFFFFFF) >> (32 - self.gap_bits)
        total = (x * self.factor >> self.down) + self.addend - gap
        return np.clip(total >> self.shift, low, high)


class AffinePair(NamedTuple):
    """clamp((a * a_factor + b * b_factor + addend) >> shift); nothing leaves int32, in any order
    of the three terms."""

    a_factor: int
    b_factor: int
    addend: int
    shift: int

    def __call__(self, a: np.ndarray, b: np.ndarray, low: int, high: int) -> np.ndarray:
        """The results of two int64 arrays that broadcast."""
        total = a * self.a_factor + b * self.b_factor + self.addend
        return np.clip(total >> self.shift, low, high)


def affine(x: np.ndarray, want: np.ndarray, low: int, high: int, real: float) -> Affine | None:
    """The shortest `Affine` that gives want[i] for each x[i], or None.

    Args:
        x: the domain, int64.
        want: the clamped results, between low and high.
        low, high: the clamp.
        real: what one unit of x is worth in the result; the factor is close to real * 2^shift.
    """
    largest = int(np.abs(x).max(initial=0))
    largest_gap = 32 - largest.bit_length()
    for down in (0, _WORD_BY_HALF):
        for shift in range(_MAX_SHIFT + 1):
            for factor in _near(real, shift + down):
                found = _with_gap(x, x * factor >> down, want, (low, high), shift, largest_gap)
                if found is not None:
                    addend, gap_bits = found
                    return Affine(factor, addend, shift, gap_bits, down)
    return None


def _with_gap(
    x: np.ndarray,
    total: np.ndarray,
    want: np.ndarray,
    limits: tuple[int, int],
    shift: int,
    largest_gap: int,
) -> tuple[int, int] | None:
    """An addend and the smallest gap that serve."""
    negative = x < 0
    first, last = _addends(total[~negative], want[~negative], *limits, shift)
    below_first, below_last = _addends(total[negative], want[negative], *limits, shift)
    if first > last or below_first > below_last:
        return None
    for bits in range(largest_gap + 1):
        gap = (1 << bits) - 1
        addend = _middle(max(first, below_first + gap), min(last, below_last + gap), shift)
        if addend is not None and _fits(total, addend) and _fits(total, addend - gap):
            return addend, bits
    return None


def affine_pair(
    a: np.ndarray,
    b: np.ndarray,
    want: np.ndarray,
    low: int,
    high: int,
    reals: tuple[float, float],
) -> AffinePair | None:
    """The shortest `AffinePair` that gives want[i] for each (a[i], b[i]), or None."""
    for shift in range(_MAX_SHIFT + 1):
        for a_factor in _near(reals[0], shift):
            for b_factor in _near(reals[1], shift):
                some = a[::_SAMPLE] * a_factor + b[::_SAMPLE] * b_factor
                first, last = _addends(some, want[::_SAMPLE], low, high, shift)
                if first > last:
                    continue
                total = a * a_factor + b * b_factor
                addend = _middle(*_addends(total, want, low, high, shift), shift)
                if addend is None:
                    continue
                if all(_fits(part, addend) for part in (total, a * a_factor, b * b_factor)):
                    return AffinePair(a_factor, b_factor, addend, shift)
    return None


def _near(real: float, shift: int) -> Iterator[int]:
    """Integers around real * 2^shift, the nearest first; none that are too large."""
    center = real * 2.0**shift
    if abs(center) < _INT32:
        middle = round(center)
        yield from (middle, middle + 1, middle - 1)


def _addends(
    total: np.ndarray, want: np.ndarray, low: int, high: int, shift: int
) -> tuple[int, int]:
    """The smallest and the largest addend with which all totals give what is wanted."""
    least = ((want << shift) - total)[want > low].max(initial=-_INT32)
    most = (((want + 1) << shift) - 1 - total)[want < high].min(initial=_INT32 - 1)
    return int(least), int(most)


def _middle(first: int, last: int, shift: int) -> int | None:
    """One of first..last: 2^shift / 2 if it is one, which has a short encoding."""
    if first > last:
        return None
    half = 1 << shift >> 1
    return half if first <= half <= last else (first + last) // 2


def _fits(total: np.ndarray, addend: int) -> bool:
    """Whether total, addend and their sum are int32."""
    largest, smallest = int(total.max(initial=0)), int(total.min(initial=0))
    ends = (largest, smallest, largest + addend, smallest + addend, addend)
    return all(-_INT32 <= end < _INT32 for end in ends)
