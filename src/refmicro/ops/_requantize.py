"""Accumulators to quantized outputs: bias, multiplier, shift, offset and activation of channels.

The exact rule is TFLM's, in integers: `fixedpoint.multiply_by_quantized_multiplier` and its int64
sibling, then offset and clamp. It is the judge, and it is slow. For an accumulator x, a multiplier
M and a shift s, its value before offset and clamp equals, as real numbers,

    floor(x * c + 1/2 + copysign(d, x))    with c = M * 2^(s - 31), d = 2^(s - 1)    where s < 0
    floor(x * c + 1/2)                                                               where s >= 0

(the inner rounding of the first moves each threshold by half of its unit, away from zero). The wide
rule has c = round(M / 2^16) * 2^(s - 15) and d = 0. Doubles compute this many times faster, so it
is used wherever it is proven, channel by channel, that rounding changes no output:

1. by counting bits: every term is a multiple of the last bit of c or d. Where all values between
   the clamp's ends need at most 53 bits, nothing is rounded there; beyond them the order is kept,
   because rounding is monotone. This holds for int8 outputs from s = -13 on, whatever M is.
   Where negative accumulators are clamped away (a fused RELU), the sign of d is that of a positive
   one, and if all x * c need at most 53 bits, bias, d and offset are one addend for each column.
2. else by thresholds: both functions only rise, in at most 255 (65,535) steps. If they step at the
   same x inside the bound of the accumulators, they are equal everywhere in it.

Where neither holds, the integer rule runs. `docs/decisions/0003-proven-float-requantisation.md`
derives the formulas.

Source: the tails of `tensorflow/lite/kernels/internal/reference/integer_ops/{conv,fully_connected,
depthwise_conv}.h`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._int8_gemm import Rescale
from refmicro._jit import Kernel, jit
from refmicro.fixedpoint import (
    clamp,
    multiply_by_quantized_multiplier,
    multiply_int64_by_quantized_multiplier,
    quantize_multiplier,
)
from refmicro.ops._activation import quantized_range
from refmicro.ops._spec import PrepareContext
from refmicro.types import INTEGER_LIMITS, Tensor

ANY_INT32 = 1 << 31
"""The bound of an accumulator that may be any int32."""

WIDE_LIMIT = 1 << 47
"""TFLM's int64 rule takes accumulators below this."""

_IN_DOUBLES, _NARROW, _WIDE = range(3)
"""Rules of `requantize_row`."""

_MIN_COLUMNS = 128
"""Rows are joined until they are this long, so that short ones fill vector registers."""


def require_zero_point(ctx: PrepareContext, what: str, tensor: Tensor) -> None:
    """A quantized tensor's zero point must be a value of its type; TFLM takes any."""
    low, high = INTEGER_LIMITS[tensor.dtype]
    ctx.require_shape(
        low <= tensor.zero_point <= high,
        f"zero point of {what} must be a value of {tensor.dtype}",
        tensor.zero_point,
    )


def largest_magnitude(tensor: Tensor, offset: int = 0) -> int:
    """The largest |q + offset| of a quantized tensor."""
    low, high = INTEGER_LIMITS[tensor.dtype]
    return max(abs(low + offset), abs(high + offset))


def multiplier_pair(ctx: PrepareContext, real: float, *, wide: bool = False) -> tuple[int, int]:
    """(multiplier, shift) of a real multiplier; refuses shifts that C++ leaves undefined."""
    most = 14 if wide else 30
    multiplier, shift = quantize_multiplier(real) if math.isfinite(real) else (0, most + 1)
    if shift > most:
        ctx.require_shape(False, f"the ratio of scales must be below 2^{most}", real)
    return multiplier, shift


def prepare_requantizer(
    ctx: PrepareContext, reals: Sequence[float], output: Tensor, *, wide: bool = False
) -> Requantizer:
    """The requantizer of real multipliers, one a column or one for all, and of the node's fused
    activation."""
    require_zero_point(ctx, "output", output)
    ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
    pairs = [multiplier_pair(ctx, real, wide=wide) for real in reals]
    low, high = quantized_range(ctx.options.get("fused_activation_function", 0), output)
    return Requantizer(
        tuple(multiplier for multiplier, _ in pairs),
        tuple(shift for _, shift in pairs),
        output.zero_point,
        low,
        high,
        output.dtype.numpy,
        wide,
    )


@dataclass(frozen=True)
class Requantizer:
    """Turns an (R, C) array of accumulators into outputs, column by column.

    Attributes:
        multipliers, shifts: one a column, as Python integers.
        output_offset: zero point of the output, inside `dtype`.
        low, high: limits of the activation.
        dtype: type of the output, int8 or int16.
        wide: accumulators are int64 in TFLM, which rounds them differently.
        bound: no accumulator, bias included, is larger in magnitude. Beyond 2^31 sums may overflow
            TFLM's int32; they wrap, as in TFLM's builds, and the integer rule runs.
    """

    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    output_offset: int
    low: int
    high: int
    dtype: np.dtype
    wide: bool = False
    bound: int = ANY_INT32

    def broadcast(self, columns: int) -> Requantizer:
        """The same with `columns` columns: a single multiplier is repeated, more are cut."""
        if len(self.multipliers) == columns:
            return self
        repeat = columns if len(self.multipliers) == 1 else 1
        return dataclasses.replace(
            self,
            multipliers=(self.multipliers * repeat)[:columns],
            shifts=(self.shifts * repeat)[:columns],
        )

    def without_offset(self) -> Requantizer:
        """The same for kernels that add no output offset, with the limits as they are."""
        return dataclasses.replace(self, output_offset=0)

    def within(self, bound: int) -> Requantizer:
        """The same for accumulators up to `bound` in magnitude."""
        return dataclasses.replace(self, bound=bound)

    @property
    def rescale(self) -> Rescale:
        """What kernels need that requantise sums of 32 bits to int8 themselves."""
        return Rescale(*self._integers, self.output_offset, self.low, self.high)

    def __call__(
        self,
        accumulators: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        out: np.ndarray | None = None,
        total_rows: int | None = None,
    ) -> np.ndarray:
        """Outputs of integer-valued accumulators.

        Args:
            accumulators: shape (R, C), contiguous, int32, int64, float32 or float64.
            bias: int64 of shape (C,), added first; None for zeros.
            out: where to write, contiguous, shape (R, C).
            total_rows: how many rows come in all, where these are a part of them; a proof by
                thresholds is only worth its time for many.
        """
        if out is None:
            out = np.empty(accumulators.shape, self.dtype)
        if bias is None:
            bias = self._no_bias
        rows = accumulators.shape[0] if total_rows is None else total_rows
        if self._proven_by_bits or (rows > self.high - self.low and self._proven):
            self._in_doubles(accumulators, bias, out)
        else:
            kernel = _requantize_wide if self.wide else _requantize
            limits = self.output_offset, self.low, self.high
            kernel(accumulators, bias, *self._integers, *limits, out)
        return out

    @cached_property
    def _integers(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.multipliers, np.int64), np.array(self.shifts, np.int64)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """c and d of each column, both exact."""
        multipliers, shifts = self._integers
        if self.wide:
            reduced = np.where(multipliers < 0x7FFF0000, (multipliers + 32768) >> 16, 0x7FFF)
            return np.ldexp(reduced.astype(np.float64), shifts - 15), np.zeros(shifts.size)
        halves = np.where(shifts < 0, np.ldexp(1.0, shifts - 1), 0.0)
        return np.ldexp(multipliers.astype(np.float64), shifts - 31), halves

    @cached_property
    def _frame(self) -> tuple[float, float, float, int]:
        """(center, low, high, base): doubles are counted from the type's lowest value, `base`, so
        that cutting off a fraction rounds down."""
        base = int(np.iinfo(self.dtype).min)
        center = self.output_offset - base + 0.5
        return center, float(self.low - base), float(self.high - base), base

    @cached_property
    def _monotone(self) -> bool:
        """Whether TFLM's own arithmetic neither wraps nor is cut on accumulators in the bound."""
        if self.wide:
            largest = float(self._factors[0].max(initial=0)) * self.bound
            return self.bound < WIDE_LIMIT and largest < 2.0**30
        left = max(0, max(self.shifts, default=0))
        return self.bound <= ANY_INT32 >> left if left == 0 else self.bound << left < ANY_INT32

    @cached_property
    def _last_bit(self) -> int:
        """Exponent of the last bit that any c or d has."""
        factors, halves = self._factors
        # c is mantissa * 2^exponent; the mantissa's trailing zeros tell the last bit that is used.
        mantissas, exponents = np.frexp(factors[factors > 0])
        digits = np.ldexp(mantissas, 53).astype(np.int64)
        zeros = np.frexp((digits & -digits).astype(np.float64))[1] - 1
        return int(min((exponents - 53 + zeros).min(initial=-1), *(np.frexp(halves)[1] - 1)))

    @cached_property
    def _proven_by_bits(self) -> bool:
        """Whether the clamp's range, in units of c's last bit, fits 53 bits with one to spare."""
        bits = np.dtype(self.dtype).itemsize * 8
        return self._monotone and self._last_bit >= bits + 1 - 53

    def exact_terms(self, bias: np.ndarray) -> tuple | None:
        """What `double_rule` takes for each column of accumulators that lack `bias`: biases,
        factors, halves, then center, low, high and base for all; None without a proof by bits."""
        if not self._proven_by_bits:
            return None
        return (bias.astype(np.float64), *self._factors, *self._frame)

    def row_terms(self, bias: np.ndarray | None = None) -> tuple:
        """What `requantize_row` takes for rows that lack `bias`, whatever is proven."""
        multipliers, shifts = self._integers
        if bias is None:
            bias = np.zeros(multipliers.size, np.int64)
        rule = _IN_DOUBLES if self._proven_by_bits else _WIDE if self.wide else _NARROW
        reals = np.concatenate([bias.astype(np.float64), *self._factors])
        return (rule, reals, np.concatenate([bias, multipliers, shifts]), *self._frame)

    def _is_one_sided(self, bias: np.ndarray) -> bool:
        """Whether a negative sum is clamped away and all terms with this bias are exact."""
        if self.output_offset > self.low or not self._proven_by_bits:
            return False
        most = self.bound + 2 * int(np.abs(bias).max(initial=0))
        # Of the offset, counted from the type's lowest value, and the halves.
        rest = 2.0 ** (np.dtype(self.dtype).itemsize * 8 + 1)
        largest = most * float(self._factors[0].max(initial=0)) + rest
        return largest <= math.ldexp(1.0, 53 + self._last_bit)

    def _terms(self, bias: np.ndarray) -> tuple[Kernel, list[tuple]]:
        """The kernel for accumulators that lack `bias`, and its arguments for joined rows and for
        single ones; those of the last bias are kept."""
        kept, terms = self._kept[0]
        if kept is bias:
            return terms
        center, low, high, base = self._frame
        factors, halves = self._factors
        if self._is_one_sided(bias):
            kernel, columns = _requantize_one_sided, (factors, bias * factors + (center + halves))
            scalars = low, high, base
        else:
            kernel, columns = _requantize_in_doubles, (bias.astype(np.float64), factors, halves)
            scalars = center, low, high, base
        rows = [tuple(np.tile(values, count) for values in columns) for count in (self._join, 1)]
        terms = kernel, [(*values, *scalars) for values in rows]
        self._kept[0] = bias, terms
        return terms

    @cached_property
    def _no_bias(self) -> np.ndarray:
        """Zeros, always the same array, so that `_terms` knows them again."""
        return np.zeros(len(self.multipliers), np.int64)

    @cached_property
    def _kept(self) -> list[tuple]:
        """A bias and the terms made with it."""
        return [(None, None)]

    @cached_property
    def _join(self) -> int:
        """How many rows are worked on as one."""
        return max(1, _MIN_COLUMNS // max(1, len(self.multipliers)))

    @cached_property
    def _proven(self) -> bool:
        if not self._monotone:
            return False
        proven = np.zeros(len(self.multipliers), np.bool_)
        limits = self.output_offset, self.low, self.high, self.bound
        _prove(*self._integers, *self._factors, *limits, *self._frame, proven, self.wide)
        return bool(proven.all())

    def _in_doubles(self, accumulators: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
        rows, columns = accumulators.shape
        joined = rows - rows % self._join
        kernel, (many, single) = self._terms(bias)
        if joined:
            width = columns * self._join
            kernel(accumulators[:joined].reshape(-1, width), *many, out[:joined].reshape(-1, width))
        if joined < rows:
            kernel(accumulators[joined:], *single, out[joined:])


@jit
def _requantize(accumulators, bias, multipliers, shifts, offset, low, high, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            total = int(accumulators[row, column]) + int(bias[column])
            total = ((total + 2147483648) & 4294967295) - 2147483648
            value = multiply_by_quantized_multiplier(
                total, int(multipliers[column]), int(shifts[column])
            )
            out[row, column] = clamp(value + offset, low, high)


@jit
def _requantize_wide(accumulators, bias, multipliers, shifts, offset, low, high, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            total = int(accumulators[row, column]) + int(bias[column])
            value = multiply_int64_by_quantized_multiplier(
                total, int(multipliers[column]), int(shifts[column])
            )
            out[row, column] = clamp(value + offset, low, high)


@jit(inline=True)
def double_rule(x, factor, half, center, low, high, base):
    """The output of a double `x`; copysign and not a comparison, because it has no branch."""
    value = x * factor + (center + math.copysign(half, x))
    return np.int32(min(max(value, low), high)) + base


@jit(inline=True)
def requantize_row(sums, terms, out):
    """One row of sums of any type, see `Requantizer.row_terms`: for kernels that make them.

    It becomes a part of its callers: a call would count references to each array.
    """
    rule, reals, integers, center, low, high, base = terms
    unsigned, columns = np.uint64, out.size
    if rule == _IN_DOUBLES:
        for i in range(columns):
            x = np.float64(sums[i]) + reals[i]
            factor, half = reals[unsigned(i + columns)], reals[unsigned(i + 2 * columns)]
            out[i] = double_rule(x, factor, half, center, low, high, base)
        return
    offset, least, most = int(center - 0.5) + base, int(low) + base, int(high) + base
    for i in range(columns):
        total = int(sums[i]) + integers[i]
        if rule == _NARROW:
            total = ((total + 2147483648) & 4294967295) - 2147483648
        multiplier = int(integers[unsigned(i + columns)])
        shift = int(integers[unsigned(i + 2 * columns)])
        out[i] = _integer_rule(total, multiplier, shift, offset, least, most, rule == _WIDE)


@jit
def _requantize_in_doubles(accumulators, bias, factors, halves, center, low, high, base, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            x = np.float64(accumulators[row, column]) + bias[column]
            out[row, column] = double_rule(
                x, factors[column], halves[column], center, low, high, base
            )


@jit
def _requantize_one_sided(accumulators, factors, addends, low, high, base, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            value = np.float64(accumulators[row, column]) * factors[column] + addends[column]
            out[row, column] = np.int32(min(max(value, low), high)) + base


@jit(inline=True)
def _integer_rule(x, multiplier, shift, offset, low, high, wide):
    if wide:
        value = multiply_int64_by_quantized_multiplier(x, multiplier, shift)
    else:
        value = multiply_by_quantized_multiplier(x, multiplier, shift)
    return clamp(value + offset, low, high)


@jit
def _prove(
    multipliers,
    shifts,
    factors,
    halves,
    offset,
    low,
    high,
    bound,
    center,
    double_low,
    double_high,
    base,
    proven,
    wide,
):
    """Per column: whether both rules agree at the ends of the bound and at both sides of each x
    where the integer rule steps."""
    for column in range(multipliers.size):
        multiplier, shift = int(multipliers[column]), int(shifts[column])
        factor, half = factors[column], halves[column]
        first, last = -bound, bound if wide else min(bound, 2147483647)
        lowest = _integer_rule(first, multiplier, shift, offset, low, high, wide)
        highest = _integer_rule(last, multiplier, shift, offset, low, high, wide)
        same = lowest == double_rule(
            float(first), factor, half, center, double_low, double_high, base
        ) and highest == double_rule(
            float(last), factor, half, center, double_low, double_high, base
        )
        step = lowest + 1
        while same and step <= highest:
            real = step - offset - 0.5
            guess = math.ceil((real - math.copysign(half, real)) / factor)
            x = min(max(guess - 2, first + 1), last)
            stop = min(x + 4, last)
            while x < stop and _integer_rule(x, multiplier, shift, offset, low, high, wide) < step:
                x += 1
            same = (
                _integer_rule(x - 1, multiplier, shift, offset, low, high, wide) < step
                and _integer_rule(x, multiplier, shift, offset, low, high, wide) >= step
                and double_rule(float(x - 1), factor, half, center, double_low, double_high, base)
                < step
                and double_rule(float(x), factor, half, center, double_low, double_high, base)
                >= step
            )
            step += 1
        proven[column] = same
