"""LOGICAL_NOT of bool."""

from refmicro.emit.ops._elementwise import emit_map
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = not x."""
    emit_map(op, lambda value: f"{value} == 0")
