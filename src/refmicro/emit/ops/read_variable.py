"""READ_VARIABLE: a copy out of the arena's state."""

from __future__ import annotations

from refmicro.emit.ops._resource import variable
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = variable."""
    place, nbytes = variable(op)
    if nbytes != op.output().tensor.nbytes:
        op.refuse(f"reads {op.output().tensor.nbytes} bytes of a variable of {nbytes}")
    op.copy(place, op.output(), nbytes)
