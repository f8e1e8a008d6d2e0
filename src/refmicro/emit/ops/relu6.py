"""RELU6: clamped between the input's 0 and 6."""

from __future__ import annotations

from refmicro.emit.c_text import integer, real
from refmicro.emit.ops._elementwise import emit_map
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = min(max(x, 0), 6)."""
    is_float = op.input(0).tensor.dtype is DType.FLOAT32
    low, high = (real(end) if is_float else integer(end) for end in op.data.function.args)
    emit_map(op, lambda x: f"{x} > {high} ? {high} : {x} < {low} ? {low} : {x}")
