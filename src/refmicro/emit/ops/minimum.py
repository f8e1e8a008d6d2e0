"""MINIMUM: the smaller of two values; scales are equal."""

from refmicro.emit.ops._elementwise import emit_pair
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = a < b ? a : b."""
    emit_pair(op, lambda a, b: f"{a} < {b} ? {a} : {b}")
