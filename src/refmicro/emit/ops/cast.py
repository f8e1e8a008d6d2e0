"""CAST between integers, and to float32 or bool."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import arena_type, emit_map
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """As C converts, which wraps."""
    x, output = op.input(0).tensor, op.output()
    if output.tensor.dtype is DType.BOOL:
        emit_map(op, lambda value: f"{value} != 0")
    elif x.dtype is DType.FLOAT32 and output.tensor.dtype is not DType.FLOAT32:
        op.refuse("casts float32 to an integer")
    else:
        emit_map(op, lambda value: f"({arena_type(output.c_type)}){value}")
