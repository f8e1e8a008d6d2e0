"""SELECT_V2: one of two inputs, element by element."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._nest import broadcast, contiguous, loops, nest
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = condition ? x : y, broadcast."""
    output = op.output()
    shapes = op.data.inputs
    rank = len(shapes[0])
    extents = output.tensor.shape if rank > 1 else (output.tensor.elements,)
    extents = (1,) * (rank - len(extents)) + tuple(extents)
    strides = [*(broadcast(shape, rank) for shape in shapes), contiguous(extents)]
    body = nest(
        loops(extents, strides),
        lambda c, x, y, o: f"output[{o}] = condition[{c}] != 0 ? x[{x}] : y[{y}];",
        (0, 0, 0, 0),
    )
    names = ("condition", "x", "y")
    parameters = [parameter(op.input(i), name) for i, name in enumerate(names)]
    op.kernel([*parameters, parameter(output, "output", write=True)], body)
