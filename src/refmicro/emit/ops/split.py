"""SPLIT: each piece is copied."""

from refmicro.emit.ops._movement import emit_cut
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One copy an output."""
    emit_cut(op, op.data, op.input(1))
