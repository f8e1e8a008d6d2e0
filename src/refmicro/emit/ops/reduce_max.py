"""REDUCE_MAX of int8 and float32."""

from refmicro.emit.ops._extremum import emit_extremum
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One result a line."""
    emit_extremum(op, ">")
