"""ADD and SUB: quantized sums of two inputs, int32 and float32 ones.

int8 sums have 65,536 cases, over which a shorter formula is proven equal to TFLM's three scalings:
clamp((a * p + b * q + r) >> s). Where there is none, and for int16, the scalings stand as they are.
"""

from __future__ import annotations

import functools

import numpy as np

from refmicro.emit.c_text import integer, plus, real
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.short_arithmetic import AffinePair, affine_pair
from refmicro.emit.unit import Op
from refmicro.ops._sum import quantized_sum
from refmicro.types import DType


def emit_sum(op: Op, sign: str) -> None:
    """a + b or a - b by the output's type."""
    dtype = op.output().tensor.dtype
    if dtype is DType.FLOAT32:
        emit_float_pair(op, lambda a, b: f"{a} {sign} {b}")
    elif dtype is DType.INT32:
        emit_wrapping_pair(op, sign)
    elif dtype is DType.INT8:
        _emit_int8(op, op.data.arguments)
    else:
        _emit_scaled(op, op.data.arguments)


def emit_float_pair(op: Op, expression) -> None:
    """A float32 operation, clamped to what `prepare` said."""
    limits = op.data.limits
    if limits is None:
        emit_pair(op, expression)
        return
    low, high = map(real, limits)
    emit_pair(op, lambda a, b: f"clamp_float({expression(a, b)}, {low}, {high})")


def emit_wrapping_pair(op: Op, sign: str) -> None:
    """An int32 operation that wraps, clamped to what `prepare` said."""

    def body(a: str, b: str) -> str:
        value = f"(int32_t)((uint32_t){a} {sign} (uint32_t){b})"
        limits = op.data.limits
        whole = limits is None or tuple(limits) == (-(2**31), 2**31 - 1)
        return value if whole else clamped(op, value, *limits)

    emit_pair(op, body)


@functools.lru_cache(maxsize=1024)
def short_sum(arguments: tuple[int, ...]) -> AffinePair | None:
    """The short formula of an int8 sum with the arguments of `quantized_sum`, None without one."""
    values = np.arange(-128, 128, dtype=np.int64)
    a, b = np.repeat(values, 256), np.tile(values, 256)
    want = np.empty(a.size, np.int8)
    quantized_sum(a.astype(np.int8), b.astype(np.int8), *arguments, want)
    left_shift, _, _, am, ash, bm, bsh, m, s, sign, _, low, high = arguments
    unit = 2.0**left_shift * m * 2.0 ** (s - 31)
    reals = unit * am * 2.0 ** (ash - 31), sign * unit * bm * 2.0 ** (bsh - 31)
    return affine_pair(a, b, want.astype(np.int64), low, high, reals)


def _emit_int8(op: Op, arguments: tuple[int, ...]) -> None:
    short = short_sum(tuple(arguments))
    if short is None:
        _emit_scaled(op, arguments)
        return
    low, high = arguments[-2:]

    def body(a: str, b: str) -> str:
        terms = f"{product(a, short.a_factor)} + {product(b, short.b_factor)}"
        total = plus(terms, short.addend)
        return f"(int8_t){clamped(op, f'({total}) >> {short.shift}', low, high)}"

    emit_pair(op, body)


def product(x: str, factor: int) -> str:
    """`x * factor` in as few words as it takes."""
    return x if factor == 1 else f"{x} * {integer(factor)}"


def _emit_scaled(op: Op, arguments: tuple[int, ...]) -> None:
    shift, a_offset, b_offset, am, ash, bm, bsh, m, s, sign, offset, low, high = arguments
    output = op.output()
    largest = int(np.iinfo(output.tensor.dtype.numpy).max) + 1
    bounds = [(largest + abs(o)) << shift for o in (a_offset, b_offset)]
    if max(bounds) >= 1 << 31:
        op.refuse("has zero points with which sums overflow")
    total_bound = sum(
        (bound * mult >> 31) + 1 for bound, mult in zip(bounds, (am, bm), strict=True)
    )

    def body(a: str, b: str) -> str:
        left = f"{plus(a, a_offset)} * {1 << shift}"
        right = f"{plus(b, b_offset)} * {1 << shift}"
        left = scaled(op, left, am, ash, bound=bounds[0])
        right = scaled(op, right, bm, bsh, bound=bounds[1])
        total = f"{left} {'+' if sign > 0 else '-'} {right}"
        value = scaled(op, total, m, s, bound=total_bound, offset=offset)
        return f"({output.c_type}){clamped(op, value, low, high)}"

    emit_pair(op, body)
