"""FILL: one value everywhere."""

from refmicro.emit.ops._elementwise import around, parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output[i] = value."""
    output = op.output()
    body = around(output.tensor.elements, "output[i] = value[0];")
    op.kernel([parameter(op.input(1), "value"), parameter(output, "output", write=True)], body)
