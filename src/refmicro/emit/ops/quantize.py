"""QUANTIZE: from float32, or from one integer scale to another; 8-bit inputs by a table."""

from __future__ import annotations

from refmicro.emit.c_text import integer, plus, real
from refmicro.emit.ops._elementwise import again, emit_lookup, emit_map
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops._requantize import multiplier_pair
from refmicro.types import INTEGER_LIMITS, DType


def emit(op: Op) -> None:
    """output = round(x / scale) + zero point."""
    x, output = op.input(0).tensor, op.output()
    low, high = INTEGER_LIMITS[output.tensor.dtype]
    if x.dtype in (DType.INT8, DType.UINT8):
        emit_lookup(op)
    elif x.dtype is DType.FLOAT32:
        scale, zero_point = real(output.tensor.scale), integer(output.tensor.zero_point)
        limits = f"{low}, {high}"
        emit_map(op, lambda v: f"({output.c_type})quantized({v}, {scale}, {zero_point}, {limits})")
    else:
        _emit_rescaled(op, low, high)


def _emit_rescaled(op: Op, low: int, high: int) -> None:
    x, output = op.input(0).tensor, op.output()
    pair = multiplier_pair(again(op), x.scale / output.tensor.scale)
    zero_point = output.tensor.zero_point
    bound = 1 << 31
    if x.dtype is DType.INT16:
        bound = (1 << 15) + abs(x.zero_point)
    elif x.zero_point or zero_point:
        op.refuse("has int32 values with a zero point")

    def body(value: str) -> str:
        result = scaled(op, plus(value, -x.zero_point), *pair, bound=bound, offset=zero_point)
        if output.tensor.dtype is DType.INT32:
            return result
        return f"({output.c_type}){clamped(op, result, low, high)}"

    emit_map(op, body)
