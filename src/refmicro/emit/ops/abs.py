"""ABS: int8 by a table of all results, int16 scaled, float32."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import again, emit_lookup, emit_map
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops._requantize import multiplier_pair
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = |x|."""
    x, output = op.input(0).tensor, op.output().tensor
    if x.dtype is DType.INT8:
        emit_lookup(op)
    elif x.dtype is DType.FLOAT32:
        # Zero minus zero is not minus zero.
        emit_map(op, lambda value: f"{value} <= 0.0f ? 0.0f - {value} : {value}")
    elif x.scale > 0 and output.scale > 0:
        pair = multiplier_pair(again(op), x.scale / output.scale)

        def body(value: str) -> str:
            result = scaled(op, f"({value} < 0 ? -{value} : {value})", *pair, bound=1 << 15)
            return f"(int16_t){clamped(op, result, -32768, 32767)}"

        emit_map(op, body)
    else:
        op.refuse("takes int16 without a scale")
