"""Products and sums of two 8-bit values in floating point, where that is proven to be exact.

TFLM rounds in integers. As real numbers its result is close to

    trunc(v * factor + center + copysign(half, v))    with v = (a + oa) * (b + ob)
    trunc(v + center + copysign(half, v))             with v = (a + oa) * p + (b + ob) * q

after a clamp, counted from the output type's lowest value so that nothing is negative. Vector units
compute this many times faster than they look a pair up in a table. Whether all roundings fall
alike is not argued but tried: the kernel runs on all 65,536 pairs, and only constants with which
every result equals the table's are taken. float32 constants that miss a few are nudged by their
last bits; float64 ones rarely miss any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refmicro._jit import Kernel, has_vectors, jit
from refmicro.ops._pair_vectors import product_lines, sum_lines

BASE = -128
"""The lowest int8: results are counted from it."""

_NUDGES = (0, 1, -1, 2, -2)
_LINE_TIES = (*_NUDGES, 4, -4, 8, -8)


@dataclass(frozen=True)
class Formula:
    """Real-valued parameters of a result.

    Attributes:
        kernel: `product` or `weighted_sum`.
        offsets: what is added to a and to b.
        factors: of the product (the second is not used), or of each value.
        half: a shift of the ties away from zero.
        output_offset, low, high: zero point and limits of the int8 output.
    """

    kernel: Kernel
    offsets: tuple[int, int]
    factors: tuple[float, float]
    half: float
    output_offset: int
    low: int
    high: int

    def constants(self) -> Iterator[np.ndarray]:
        """What to try as the kernel's constants, the fastest type first."""
        single = np.finfo(np.float32).eps
        for nudge in _NUDGES:
            for tie in _NUDGES:
                factors = (1 + nudge * single / 2, 1 - nudge * single / 2)
                yield self._typed(np.float32, factors, max(self.half, 2.0**-16), tie * 2.0**-16)
        yield self._typed(np.float64, (1.0, 1.0), self.half, 0.0)

    def line_constants(self) -> Iterator[np.ndarray]:
        """What to try as constants of `lines`."""
        last = np.finfo(np.float32).eps / 2
        for nudge in _NUDGES:
            for tie in _LINE_TIES:
                p, q = (factor * (1 + nudge * last) for factor in self.factors)
                center = self.output_offset + tie * 2.0**-17
                if self.kernel is product:
                    values = (*self.offsets, center, self.low, self.high, p, self.half)
                else:
                    center += self.offsets[0] * p + self.offsets[1] * q
                    values = (p, q, center, self.low, self.high, 0.0, 0.0)
                yield np.array(values, np.float32)

    @property
    def lines(self) -> Kernel:
        """The kernel's counterpart in vector instructions."""
        return product_lines if self.kernel is product else sum_lines

    def _typed(
        self, dtype: type, nudges: tuple[float, float], half: float, tie: float
    ) -> np.ndarray:
        factors = (factor * nudge for factor, nudge in zip(self.factors, nudges, strict=True))
        center = self.output_offset - BASE + 0.5 + tie
        values = (*self.offsets, *factors, half, center, self.low - BASE, self.high - BASE)
        return np.array(values, dtype)


def real_factor(multiplier: int, shift: int) -> float:
    """What a multiplier and a shift stand for, as a double."""
    return math.ldexp(multiplier, shift - 31)


def proven_constants(formula: Formula, table: np.ndarray) -> np.ndarray | None:
    """Constants with which `formula.kernel` gives `table` on all pairs, None where none are found.

    Args:
        formula: what to prove.
        table: int8 results of shape (65536,), indexed by the bits of a and b.
    """
    return _proven(formula.kernel, formula.constants(), table)


def proven_line_constants(formula: Formula, table: np.ndarray) -> np.ndarray | None:
    """The same for `formula.lines`; None also where the processor lacks the instructions."""
    return _proven(formula.lines, formula.line_constants(), table) if has_vectors() else None


def _proven(kernel: Kernel, tried: Iterator[np.ndarray], table: np.ndarray) -> np.ndarray | None:
    values = np.arange(256, dtype=np.uint8).view(np.int8)
    a, b = np.repeat(values, 256), np.tile(values, 256)
    loops = np.array([[1, 1, table.size], [0, 0, 1], [0, 0, 1]])
    out = np.empty(table.size, np.int8)
    for constants in tried:
        kernel(a, b, loops, constants, out)
        if np.array_equal(out, table):
            return constants
    return None


@jit(inline=True)
def _result(value, half, center, low, high):
    total = value + (center + math.copysign(half, value))
    return np.int32(min(max(total, low), high)) - 128


@jit
def product(a, b, loops, constants, out):
    """Values less their zero points, multiplied; `loops` as for `_elementwise._lookup_pairs`."""
    a_offset, b_offset, factor = constants[0], constants[1], constants[2]
    half, center, low, high = constants[4], constants[5], constants[6], constants[7]
    # Unsigned indices spare the compiled code the test for negative ones.
    index, position, count = np.uint64, 0, loops[0, 2]
    for i in range(loops[0, 0]):
        for j in range(loops[0, 1]):
            left = i * loops[1, 0] + j * loops[1, 1]
            right = i * loops[2, 0] + j * loops[2, 1]
            if loops[1, 2] == 0:
                first = a[index(left)] + a_offset
                for k in range(count):
                    value = first * (b[index(right + k)] + b_offset) * factor
                    out[index(position + k)] = _result(value, half, center, low, high)
            elif loops[2, 2] == 0:
                second = b[index(right)] + b_offset
                for k in range(count):
                    value = (a[index(left + k)] + a_offset) * second * factor
                    out[index(position + k)] = _result(value, half, center, low, high)
            else:
                for k in range(count):
                    first, second = a[index(left + k)], b[index(right + k)]
                    value = (first + a_offset) * (second + b_offset) * factor
                    out[index(position + k)] = _result(value, half, center, low, high)
            position += count


@jit
def weighted_sum(a, b, loops, constants, out):
    """Values less their zero points, each times its factor, added; else like `product`."""
    a_offset, b_offset, p, q = constants[0], constants[1], constants[2], constants[3]
    half, center, low, high = constants[4], constants[5], constants[6], constants[7]
    # Unsigned indices spare the compiled code the test for negative ones.
    index, position, count = np.uint64, 0, loops[0, 2]
    for i in range(loops[0, 0]):
        for j in range(loops[0, 1]):
            left = i * loops[1, 0] + j * loops[1, 1]
            right = i * loops[2, 0] + j * loops[2, 1]
            if loops[1, 2] == 0:
                first = (a[index(left)] + a_offset) * p
                for k in range(count):
                    value = first + (b[index(right + k)] + b_offset) * q
                    out[index(position + k)] = _result(value, half, center, low, high)
            elif loops[2, 2] == 0:
                second = (b[index(right)] + b_offset) * q
                for k in range(count):
                    value = (a[index(left + k)] + a_offset) * p + second
                    out[index(position + k)] = _result(value, half, center, low, high)
            else:
                for k in range(count):
                    first, second = a[index(left + k)], b[index(right + k)]
                    value = (first + a_offset) * p + (second + b_offset) * q
                    out[index(position + k)] = _result(value, half, center, low, high)
            position += count
