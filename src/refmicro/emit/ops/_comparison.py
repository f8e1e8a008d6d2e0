"""What the comparisons share."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.ops._scale import scaled
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit_comparison(op: Op, sign: str) -> None:
    """output = a SIGN b; int8 values are brought to a common scale first."""
    if op.input(0).tensor.dtype is not DType.INT8:
        emit_pair(op, lambda a, b: f"{a} {sign} {b}")
        return
    a_offset, am, ash, b_offset, bm, bsh, _ = op.data.arguments

    def body(a: str, b: str) -> str:
        bounds = [(128 + abs(offset)) << 8 for offset in (a_offset, b_offset)]
        left = scaled(op, f"{plus(a, a_offset)} * 256", am, ash, bound=bounds[0])
        right = scaled(op, f"{plus(b, b_offset)} * 256", bm, bsh, bound=bounds[1])
        return f"{left} {sign} {right}"

    emit_pair(op, body)
