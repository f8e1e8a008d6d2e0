"""ASSIGN_VARIABLE: a copy into the arena's state."""

from __future__ import annotations

from refmicro.emit.ops._resource import variable
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """variable = input."""
    place, nbytes = variable(op)
    if nbytes != op.input(1).tensor.nbytes:
        op.refuse(f"writes {op.input(1).tensor.nbytes} bytes to a variable of {nbytes}")
    op.copy(op.input(1), place, nbytes)
