"""SQUARE of float32."""

from refmicro.emit.ops._elementwise import emit_map
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = x^2."""
    emit_map(op, lambda value: f"{value} * {value}")
