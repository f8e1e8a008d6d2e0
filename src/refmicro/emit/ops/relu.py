"""RELU: int8 by a table of all results, int16 scaled, float32."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import again, emit_lookup, emit_map
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops._requantize import multiplier_pair
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = max(x, 0)."""
    x, output = op.input(0).tensor, op.output().tensor
    if x.dtype is DType.FLOAT32:
        emit_map(op, lambda value: f"{value} < 0.0f ? 0.0f : {value}")
    elif x.dtype is DType.INT16:
        pair = multiplier_pair(again(op), x.scale / output.scale)

        def body(value: str) -> str:
            result = scaled(op, value, *pair, bound=1 << 15)
            return f"(int16_t){clamped(op, result, 0, 32767)}"

        emit_map(op, body)
    else:
        emit_lookup(op)
