"""PAD: the value everywhere, then the input in its place."""

from refmicro.emit.c_text import integer, real
from refmicro.emit.ops._elementwise import around, parameter
from refmicro.emit.ops._movement import emit_strided
from refmicro.emit.ops._nest import contiguous
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """A loop that fills, and a strided copy."""
    x, output = op.input(0), op.output()
    written = parameter(output, "output", write=True)
    count = output.tensor.elements
    if op.data.value is None:
        value = op.input(2)
        op.kernel([parameter(value, "value"), written], around(count, "output[i] = value[0];"))
    else:
        is_float = output.tensor.dtype is DType.FLOAT32
        literal = real(op.data.value) if is_float else integer(op.data.value)
        op.kernel([written], around(count, f"output[i] = {literal};"))
    steps = contiguous(output.tensor.shape)
    offset = sum(part.start * step for part, step in zip(op.data.inside, steps, strict=True))
    extents = x.tensor.shape
    emit_strided(op, x, output, extents, (contiguous(extents), steps), (0, offset))
