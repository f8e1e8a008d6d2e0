"""SUB of int8, int16, int32 and float32."""

from refmicro.emit.ops._sum import emit_sum
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = a - b."""
    emit_sum(op, "-")
