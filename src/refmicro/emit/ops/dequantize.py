"""DEQUANTIZE: int8 by a table of all results, int16 by a double product."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import emit_lookup, emit_map
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = scale * (q - zero point)."""
    x = op.input(0).tensor
    if x.dtype is not DType.INT16:
        emit_lookup(op)
        return
    scale = float(x.scale).hex()
    emit_map(op, lambda value: f"(float)({scale} * {plus(value, -x.zero_point)})")
