"""CONCATENATION: each input is copied to its place."""

from refmicro.emit.ops._movement import emit_joined
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One copy an input."""
    emit_joined(op, op.data, op.inputs(len(op.data.sizes)))
