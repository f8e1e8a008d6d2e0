"""SUM of int8, int16 and float32."""

from __future__ import annotations

from refmicro.emit.ops._reduce import emit_reduction
from refmicro.emit.ops.mean import emit_quantized
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """The sum, then one requantization."""
    if op.data.requantize is None:
        emit_reduction(op, "0.0f", "float", "sum += value;", "sum")
        return
    emit_quantized(op)
