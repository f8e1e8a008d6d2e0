"""LEAKY_RELU: int8 by a table of all results, int16 scaled, float32."""

from __future__ import annotations

from refmicro.emit.c_text import real
from refmicro.emit.ops._elementwise import again, emit_lookup, emit_map
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.fixedpoint import f32
from refmicro.ops._requantize import multiplier_pair
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = x or alpha * x."""
    x, output = op.input(0).tensor, op.output().tensor
    alpha = f32(op.node.operator.options.get("alpha", 0.0))
    if x.dtype is DType.FLOAT32:
        emit_map(op, lambda value: f"{value} > 0.0f ? {value} : {value} * {real(alpha)}")
        return
    if x.dtype is not DType.INT16:
        emit_lookup(op)
        return
    slope = multiplier_pair(again(op), x.scale * abs(alpha) / output.scale)
    identity = multiplier_pair(again(op), x.scale / output.scale)
    if x.zero_point or output.zero_point:
        op.refuse("has int16 zero points other than 0")
    sign = "-" if alpha < 0 else ""

    def body(value: str) -> str:
        above = scaled(op, value, *identity, bound=1 << 15)
        below = scaled(op, value, *slope, bound=1 << 15)
        result = f"{value} >= 0 ? {above} : {sign}({below})"
        return f"(int16_t){clamped(op, result, -32768, 32767)}"

    emit_map(op, body)
