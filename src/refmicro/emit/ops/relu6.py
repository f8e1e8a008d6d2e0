"""RELU6: clamped between the input's 0 and 6."""

from __future__ import annotations

from refmicro.emit.c_text import integer, real
from refmicro.emit.ops._elementwise import emit_map
from refmicro.emit.unit import Op
from refmicro.types import INTEGER_LIMITS, DType


def emit(op: Op) -> None:
    """output = min(max(x, 0), 6)."""
    low, high = op.data.function.args
    if op.input(0).tensor.dtype is DType.FLOAT32:
        emit_map(op, lambda x: _clipped(x, real(low), real(high)))
        return
    lowest, highest = INTEGER_LIMITS[op.input(0).tensor.dtype]
    above = integer(high) if high < highest else None
    below = integer(low) if low > lowest else None
    emit_map(op, lambda x: _clipped(x, below, above))


def _clipped(x: str, low: str | None, high: str | None) -> str:
    """Only limits that a value may pass: compilers complain of others."""
    text = x if low is None else f"{x} < {low} ? {low} : {x}"
    return text if high is None else f"{x} > {high} ? {high} : {text}"
