"""ADD and SUB: quantized sums of two inputs, int32 and float32 ones.

int8 sums are short where that is proven equal (`_short_forms`); for int16 TFLM's three scalings
stand as they are.
"""

from __future__ import annotations

from refmicro.emit.c_text import real
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped
from refmicro.emit.ops._short_forms import long_sum, total
from refmicro.emit.unit import Op
from refmicro.ops.selective_scan import Sum
from refmicro.types import DType


def emit_sum(op: Op, sign: str) -> None:
    """a + b or a - b by the output's type."""
    dtype = op.output().tensor.dtype
    if dtype is DType.FLOAT32:
        emit_float_pair(op, lambda a, b: f"{a} {sign} {b}")
    elif dtype is DType.INT32:
        emit_wrapping_pair(op, sign)
    else:
        _emit_quantized(op)


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
        return value if limits is None else clamped(op, value, *limits)

    emit_pair(op, body)


def _emit_quantized(op: Op) -> None:
    shift, a_offset, b_offset, am, ash, bm, bsh, m, s, sign, offset, low, high = op.data.arguments
    record = Sum(a_offset, b_offset, am, ash, bm, bsh, m, s, offset, low, high)
    signs = 1, sign
    output = op.output()

    def body(a: str, b: str) -> str:
        if output.tensor.dtype is DType.INT8:
            value = total(op, a, b, record, signs=signs)[1]
        else:
            value = long_sum(op, a, b, record, signs, left_shift=shift, largest=1 << 15)
            value = clamped(op, value, low, high)
        return f"({output.c_type})({value})"

    emit_pair(op, body)
