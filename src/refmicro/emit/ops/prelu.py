"""PRELU of int8, int16 and float32."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = x where x >= 0, alpha * x elsewhere."""
    output = op.output()
    if output.tensor.dtype is DType.FLOAT32:
        emit_pair(op, lambda x, alpha: f"{x} >= 0.0f ? {x} : {x} * {alpha}")
        return
    offset, alpha_offset, m, s, slope, slope_shift, zero, low, high = op.data.arguments
    bits = 8 * output.tensor.dtype.numpy.itemsize
    bound = (1 << (bits - 1)) + abs(offset)

    def body(x: str, alpha: str) -> str:
        value = plus(x, offset)
        above = scaled(op, value, m, s, bound=bound, offset=zero)
        product = f"{value} * {plus(alpha, alpha_offset)}"
        largest = bound * (128 + abs(alpha_offset))
        below = scaled(op, product, slope, slope_shift, bound=largest, offset=zero)
        return f"({output.c_type}){clamped(op, f'{value} >= 0 ? {above} : {below}', low, high)}"

    emit_pair(op, body)
