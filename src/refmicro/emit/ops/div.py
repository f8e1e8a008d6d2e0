"""DIV of int32 and float32."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import clamped
from refmicro.emit.ops._sum import emit_float_pair
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = a / b; an int32 division by 0, which ends TFLM's program, gives 0."""
    dtype = op.output().tensor.dtype
    if dtype is DType.FLOAT32:
        emit_float_pair(op, lambda a, b: f"{a} / {b}")
        return
    if dtype is not DType.INT32:
        op.refuse("divides int8 values")
    limits = op.data.limits

    def body(a: str, b: str) -> str:
        value = f"quotient({a}, {b})"
        return value if limits is None else clamped(op, value, *limits)

    emit_pair(op, body)
