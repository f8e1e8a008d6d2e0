"""STRIDED_SLICE: one strided copy; a shrunk axis is an offset."""

from refmicro.emit.ops._movement import emit_strided
from refmicro.emit.ops._nest import contiguous
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One strided copy."""
    x, output = op.input(0), op.output()
    strides, offset = [], 0
    steps = contiguous(x.tensor.shape)
    # The first index of what `prepare` returned is the batch of the interpreter.
    for index, step in zip(op.data.index[1:], steps, strict=True):
        if isinstance(index, slice):
            offset += index.start * step
            strides.append(index.step * step)
        else:
            offset += index * step
    extents = output.tensor.shape
    emit_strided(op, x, output, extents, (strides, contiguous(extents)), (offset, 0))
