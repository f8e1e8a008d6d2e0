"""NOT_EQUAL of int8, int32, int64, float32 and, for equality, bool."""

from __future__ import annotations

from refmicro.emit.ops._comparison import emit_comparison
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = a != b."""
    emit_comparison(op, "!=")
