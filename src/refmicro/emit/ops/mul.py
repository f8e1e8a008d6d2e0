"""MUL of int8, int16, int32 and float32."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.ops._short_forms import product
from refmicro.emit.ops._sum import emit_float_pair, emit_wrapping_pair
from refmicro.emit.unit import Op
from refmicro.ops.selective_scan import Product
from refmicro.types import INTEGER_LIMITS, DType


def emit(op: Op) -> None:
    """output = a * b."""
    output = op.output()
    dtype = output.tensor.dtype
    if dtype is DType.FLOAT32:
        emit_float_pair(op, lambda a, b: f"{a} * {b}")
        return
    if dtype is DType.INT32:
        emit_wrapping_pair(op, "*")
        return
    a_offset, b_offset, multiplier, shift, offset, low, high = op.data.arguments
    bound = 1
    for extra in (a_offset, b_offset):
        bound *= max(abs(end + extra) for end in INTEGER_LIMITS[dtype])

    if dtype is DType.INT8:
        record = Product(a_offset, b_offset, multiplier, shift, offset, low, high)
        emit_pair(op, lambda a, b: f"(int8_t)({_short(op, a, b, record)})")
        return

    def body(a: str, b: str) -> str:
        x = f"{plus(a, a_offset)} * {plus(b, b_offset)}"
        value = scaled(op, x, multiplier, shift, bound=bound, offset=offset)
        return f"({output.c_type}){clamped(op, value, low, high)}"

    emit_pair(op, body)


def _short(op: Op, a: str, b: str, record: Product) -> str:
    x = f"{plus(a, record.a_offset)} * {plus(b, record.b_offset)}"
    return product(op, x, record, tuple(range(-128, 128)))
