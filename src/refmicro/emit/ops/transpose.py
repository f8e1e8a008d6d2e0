"""TRANSPOSE: output axis i is input axis perm[i]."""

from refmicro.emit.ops._movement import emit_strided
from refmicro.emit.ops._nest import contiguous
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One strided copy."""
    x, output = op.input(0), op.output()
    steps = contiguous(x.tensor.shape)
    # The first axis of what `prepare` returned is the batch of the interpreter.
    strides = [steps[axis - 1] for axis in op.data[1:]]
    extents = output.tensor.shape
    emit_strided(op, x, output, extents, (strides, contiguous(extents)))
