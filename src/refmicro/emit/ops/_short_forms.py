"""int8 products and sums as C expressions, short where that is proven equal to TFLM's arithmetic.

They are described as the records of a selective scan are (`ops/selective_scan.py`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from refmicro.emit.c_text import integer, plus
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.short_arithmetic import Affine, AffinePair, affine, affine_pair
from refmicro.emit.unit import Op
from refmicro.fixedpoint import multiply_array
from refmicro.ops.selective_scan import SUM_SHIFT, Product, Sum

INT8 = (-128, 127)

_HALF_WORD = 1 << 15


def product(op: Op, x: str, record: Product, a: tuple[int, ...], b: tuple[int, int] = INT8) -> str:
    """The expression of a product, requantized and clamped.

    Args:
        op: who needs it.
        x: the expression of (a + a_offset) * (b + b_offset).
        record: offsets, multiplier, limits.
        a: all values of the first factor.
        b: the smallest and the largest value of the second one.
    """
    found = _short(record, tuple(sorted(set(a))), b)
    limits = record.low, record.high
    if found.short is None:
        pair = record.multiplier, record.shift
        value = scaled(op, x, *pair, bound=found.bound, offset=record.output_offset)
        return clamped(op, value, *limits)
    value = _short_product(x, found.short, half=found.bound < _HALF_WORD)
    return value if found.inside else clamped(op, value, *limits)


class _Found(NamedTuple):
    """A product's short form, None without one; whether it needs no clamp; the largest |x|."""

    short: Affine | None
    inside: bool
    bound: int


@functools.lru_cache(maxsize=1024)
def _short(record: Product, a: tuple[int, ...], b: tuple[int, int]) -> _Found:
    second = np.arange(b[0], b[1] + 1, dtype=np.int64) + record.b_offset
    values = np.unique(np.multiply.outer(np.array(a, np.int64) + record.a_offset, second))
    bound = int(np.abs(values).max())
    want = _scaled_array(values, record.multiplier, record.shift) + record.output_offset
    want = np.clip(want, record.low, record.high)
    real = _real(record.multiplier, record.shift)
    short = affine(values, want, record.low, record.high, real)
    if short is None:
        return _Found(None, False, bound)
    raw = short(values, -(1 << 31), (1 << 31) - 1)
    return _Found(short, bool(record.low <= raw.min() and raw.max() <= record.high), bound)


def _short_product(x: str, short: Affine, *, half: bool) -> str:
    factor, addend = integer(short.factor), integer(short.addend)
    if short.gap_bits:
        name = "shortened" if not short.down else f"shortened_by_{'half' if half else 'word'}"
        return f"{name}({x}, {factor}, {addend}, {32 - short.gap_bits}, {short.shift})"
    if not short.down:
        return f"({plus(times(f'({x})', short.factor), short.addend)}) >> {short.shift}"
    if half:
        return f"word_by_half({factor}, {x}, {addend}) >> {short.shift}"
    wide = f"(int32_t)((int64_t)({x}) * {factor} >> {short.down})"
    return f"({plus(wide, short.addend)}) >> {short.shift}"


def total(
    op: Op,
    a: str,
    b: str,
    record: Sum,
    ranges: tuple[tuple[int, int], tuple[int, int]] = (INT8, INT8),
    signs: tuple[int, int] = (1, 1),
    raised: int = 0,
    first: str = "",
) -> tuple[str, str]:
    """A sum of two values as ADD makes it, plus `raised`: a statement, and the expression after it.

    Args:
        op: who needs it.
        a, b: the values.
        record: offsets, multipliers, limits.
        ranges: the smallest and the largest value of each.
        signs: -1 where a value is subtracted.
        raised: added to the result after it was clamped.
        first: name of a variable for what depends on `a` alone; the statement then declares it, and
            may stand outside of a loop over `b`. Empty: there is no statement.
    """
    short = _short_total(record, ranges, signs, raised)
    limits = record.low + raised, record.high + raised
    if short is None:
        value = clamped(op, long_sum(op, a, b, record, signs), record.low, record.high)
        return "", plus(value, raised)
    before, left_term = "", plus(times(a, short.a_factor), short.addend)
    if first:
        before, left_term = f"const int32_t {first} = {left_term};", first
    value = f"({left_term} + {times(b, short.b_factor)}) >> {short.shift}"
    return before, clamped(op, value, *limits)


@functools.lru_cache(maxsize=1024)
def _short_total(
    record: Sum,
    ranges: tuple[tuple[int, int], tuple[int, int]],
    signs: tuple[int, int],
    raised: int,
) -> AffinePair | None:
    left, right = (np.arange(low, high + 1, dtype=np.int64) for low, high in ranges)
    left, right = np.repeat(left, right.size), np.tile(right, left.size)
    parts = [
        sign * _scaled_array((values + offset) << SUM_SHIFT, multiplier, shift)
        for values, sign, offset, multiplier, shift in (
            (left, signs[0], record.a_offset, record.a_multiplier, record.a_shift),
            (right, signs[1], record.b_offset, record.b_multiplier, record.b_shift),
        )
    ]
    limits = record.low + raised, record.high + raised
    want = _scaled_array(parts[0] + parts[1], record.multiplier, record.shift)
    want = np.clip(want + record.output_offset + raised, *limits)
    unit = 2.0**SUM_SHIFT * _real(record.multiplier, record.shift)
    reals = (
        signs[0] * unit * _real(record.a_multiplier, record.a_shift),
        signs[1] * unit * _real(record.b_multiplier, record.b_shift),
    )
    return affine_pair(left, right, want, *limits, reals)


def times(x: str, factor: int) -> str:
    """`x * factor` in as few words as it takes."""
    return x if factor == 1 else f"{x} * {integer(factor)}"


def long_sum(
    op: Op,
    a: str,
    b: str,
    record: Sum,
    signs: tuple[int, int],
    *,
    left_shift: int = SUM_SHIFT,
    largest: int = 128,
) -> str:
    """The expression of a sum with its three scalings as TFLM has them, not clamped.

    Args:
        op, a, b, record, signs: as for `total`.
        left_shift: by which both values are shifted first.
        largest: magnitude of either value.

    Raises:
        UnsupportedError: if a shifted value does not fit int32.
    """
    terms, bound = [], 2
    for x, offset, multiplier, shift in (
        (a, record.a_offset, record.a_multiplier, record.a_shift),
        (b, record.b_offset, record.b_multiplier, record.b_shift),
    ):
        most = (largest + abs(offset)) << left_shift
        if most >= 1 << 31:
            op.refuse("has zero points with which sums overflow")
        shifted = f"{plus(x, offset)} * {1 << left_shift}"
        terms.append(scaled(op, shifted, multiplier, shift, bound=most))
        bound += most * multiplier >> 31
    first = terms[0] if signs[0] > 0 else f"-{terms[0]}"
    both = f"{first} {'+' if signs[1] > 0 else '-'} {terms[1]}"
    return scaled(
        op, both, record.multiplier, record.shift, bound=bound, offset=record.output_offset
    )


def _real(multiplier: int, shift: int) -> float:
    return multiplier * 2.0 ** (shift - 31)


def _scaled_array(values: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    out = np.empty(values.size, np.int64)
    multiply_array(np.ascontiguousarray(values), multiplier, shift, out)
    return out
