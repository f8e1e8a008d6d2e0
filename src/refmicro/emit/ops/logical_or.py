"""LOGICAL_OR of bool."""

from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = a or b."""
    emit_pair(op, lambda a, b: f"{a} != 0 || {b} != 0")
