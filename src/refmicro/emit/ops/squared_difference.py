"""SQUARED_DIFFERENCE of int8, int16, int32 and float32."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.types import INTEGER_LIMITS, DType


def emit(op: Op) -> None:
    """output = (a - b)^2; both inputs are first brought to twice the larger scale."""
    output = op.output()
    dtype = output.tensor.dtype
    if dtype is DType.FLOAT32:
        emit_pair(op, lambda a, b: f"square_float({a} - {b})")
        return
    if dtype is DType.INT32:
        emit_pair(op, lambda a, b: f"square_wrapping((uint32_t){a} - (uint32_t){b})")
        return
    left, a_offset, b_offset, am, ash, bm, bsh, m, s, offset, low, high = op.data.arguments
    largest = -INTEGER_LIMITS[dtype][0]
    bounds = [(largest + abs(extra)) << left for extra in (a_offset, b_offset)]

    def body(a: str, b: str) -> str:
        first = f"{plus(a, a_offset)} * {1 << left}" if left else plus(a, a_offset)
        second = f"{plus(b, b_offset)} * {1 << left}" if left else plus(b, b_offset)
        first = scaled(op, first, am, ash, bound=bounds[0])
        second = scaled(op, second, bm, bsh, bound=bounds[1])
        square = f"square_wrapping((uint32_t)({first} - {second}))"
        value = scaled(op, square, m, s, offset=offset)
        return f"({output.c_type}){clamped(op, value, low, high)}"

    emit_pair(op, body)
