"""MAX_POOL_2D of int8, int16 and float32."""

from __future__ import annotations

from refmicro.emit.ops._pooling import emit_pooling
from refmicro.emit.unit import Op
from refmicro.types import INTEGER_LIMITS


def emit(op: Op) -> None:
    """The largest of what falls on the image, the type's lowest value where nothing does."""
    lowest = INTEGER_LIMITS.get(op.output().tensor.dtype, (0, 0))[0]
    step = "result = value > result ? value : result;"
    emit_pooling(op, ("-3.402823466e+38f", str(lowest)), step, ("", ""))
